"""The embedded stack: a Prefect server, its deployments and a worker on this machine, kept up by one supervisor."""
