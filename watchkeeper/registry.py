"""The registry: one registered MLflow model per watch, one version per retrain, and the aliases that say which serves.

`champion` scores, `challenger` is the latest that was not promoted, `previous` is what a rollback returns to. Which
version is champion is the one mutable thing of the whole system, and it lives in MLflow's database. A version's files
lie in the lake (watchkeeper/version.py): the registry knows their folder from the lake's root, and their digest.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from watchkeeper.errors import RegistryError, VersionNotFoundError
from watchkeeper.records import Record, Registered

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
IN_LAKE = "lake:///"
"""What stands before a key where MLflow wants a URI: neither the lake's place nor the machine's."""


class VersionLine(Record):
    """One line of the table of versions."""

    version: int
    aliases: tuple[str, ...]
    created_ms: int
    run: str
    snapshot: str
    vus_pr: float | None
    source: str = ""


class Registry:
    """MLflow's tracking and registry store behind the few calls that Watchkeeper needs."""

    def __init__(self, uri: str) -> None:
        """Open the store, creating it once, under a lock: two processes creating it at once leave it half made.

        Args:
            uri: `sqlite:///…` or another MLflow store.

        Raises:
            RegistryError: the store cannot be opened.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        # MLflow announces each migration of a new database at INFO; that is no news to an operator.
        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            if uri.startswith("sqlite:///"):
                file = Path(uri.removeprefix("sqlite:///"))
                file.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{file}.lock", timeout=120):
                    self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                    self._client.search_registered_models(max_results=1)
            else:
                self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                self._client.search_registered_models(max_results=1)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            why = re.sub(r"//[^/@\s]*@", "//…@", f"cannot open the registry {uri}: {str(error).splitlines()[0]}")
            raise RegistryError(why) from error  # a store's URI may hold a password

    def register(
        self,
        watch: str,
        run: str,
        folder: str,
        sha256: str,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        history: Iterable[tuple[str, int, float]],
        tags: Mapping[str, str],
    ) -> Registered:
        """Log a run and make what it wrote the watch's next version.

        Args:
            watch: the registered model's name.
            run: the run's key, by which `find` finds the version again.
            folder: the version's folder in the lake, and
            sha256: its manifest's digest, both as `write_version` gives them.
            parameters: of the run.
            metrics: final figures.
            history: figures per epoch: name, epoch, value.
            tags: of the version.
        """
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(watch)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise RegistryError(f"cannot create the model {watch}: {error.message}") from error
        experiment = self._experiment(watch)
        with _errors_told(f"register a version of {watch}"):
            mlflow_run = self._client.create_run(experiment, run_name=f"{watch}-{run[:12]}")
            run_id, at = mlflow_run.info.run_id, mlflow_run.info.start_time
            points = [(name, 0, value) for name, value in metrics.items()] + list(history)
            self._client.log_batch(
                run_id,
                metrics=[Metric(name, value, at, step) for name, step, value in points[:1000]],  # MLflow's limit a call
                params=[Param(name, str(value)[:500]) for name, value in parameters.items()],
                tags=[RunTag("watchkeeper.run", run)],
            )
            for start in range(1000, len(points), 1000):
                chunk = [Metric(name, value, at, step) for name, step, value in points[start : start + 1000]]
                self._client.log_batch(run_id, metrics=chunk)
            self._client.set_terminated(run_id)
            made = self._client.create_model_version(
                watch,
                source=f"{IN_LAKE}{folder}",
                run_id=run_id,
                tags={**tags, "run": run, "sha256": sha256},
            )
        self.set_alias(watch, CHALLENGER, int(made.version))
        return _registered(made)

    def find(self, watch: str, run: str) -> Registered | None:
        """Return the newest version that a run made, or None."""
        found = [_registered(made) for made in self._versions(watch) if made.tags.get("run") == run]
        return max(found, key=lambda registered: registered.version, default=None)

    def settle(self, registered: Registered) -> None:
        """Finish what a killed run began with the newest version: it is challenger unless an alias says what it is.

        A run that was killed between two aliases may have left the champion as its own challenger.
        """
        lines = self.versions(registered.watch)
        if not lines or lines[0].version != registered.version:
            return
        if not lines[0].aliases:
            self.set_alias(registered.watch, CHALLENGER, registered.version)
        elif {CHAMPION, CHALLENGER} <= set(lines[0].aliases):
            self.set_alias(registered.watch, CHALLENGER, None)

    def get(self, watch: str, version: int) -> Registered:
        """Return a version.

        Raises:
            VersionNotFoundError: there is none of that number.
        """
        known = {int(made.version): made for made in self._versions(watch)}
        if version not in known:
            names = ", ".join(str(number) for number in sorted(known)) or "none"
            raise VersionNotFoundError(f"watch {watch} has no version {version}; it has: {names}")
        return _registered(known[version])

    def versions(self, watch: str) -> list[VersionLine]:
        """Return the watch's versions, the newest first."""
        aliases = self._aliases(watch)
        lines = []
        for made in self._versions(watch):
            number = int(made.version)
            figure = made.tags.get("vus_pr")
            lines.append(
                VersionLine(
                    version=number,
                    aliases=tuple(sorted(alias for alias, at in aliases.items() if at == number)),
                    created_ms=made.creation_timestamp,
                    run=made.tags.get("run", ""),
                    snapshot=made.tags.get("snapshot", ""),
                    vus_pr=float(figure) if figure else None,
                    source=made.source,
                )
            )
        return sorted(lines, key=lambda line: -line.version)

    def alias(self, watch: str, alias: str) -> Registered | None:
        """Return the version that an alias points to, or None."""
        number = self._aliases(watch).get(alias)
        return None if number is None else self.get(watch, number)

    def set_alias(self, watch: str, alias: str, version: int | None) -> None:
        """Point an alias to a version, or take it away."""
        with _errors_told(f"move the alias {alias} of {watch}"):
            if version is None:
                self._client.delete_registered_model_alias(watch, alias)
            else:
                self._client.set_registered_model_alias(watch, alias, str(version))

    def forget(self, watch: str, version: int) -> None:
        """Take a version out, with the run that it came of. Its number is not used again."""
        run = next((made.run_id for made in self._versions(watch) if int(made.version) == version), None)
        with _errors_told(f"delete version {version} of {watch}"):
            self._client.delete_model_version(watch, str(version))
        if run:
            self.forget_run(run)

    def forget_run(self, run: str) -> None:
        """Take a run out."""
        with _errors_told(f"delete the run {run}"):
            self._client.delete_run(run)

    def runs_without_version(self, watch: str) -> list[tuple[str, datetime]]:
        """Return the runs that no version came of, with their begin: who registered them was killed, or is at work."""
        experiment = self._client.get_experiment_by_name(watch)
        if experiment is None:
            return []
        used = {made.run_id for made in self._versions(watch)}
        found: list[tuple[str, datetime]] = []
        token = None
        while True:
            with _errors_told(f"read the runs of {watch}"):
                page = self._client.search_runs([experiment.experiment_id], page_token=token)
            found += [
                (run.info.run_id, datetime.fromtimestamp(run.info.start_time / 1000, UTC))
                for run in page
                if run.info.run_id not in used
            ]
            token = page.token
            if not token:
                return found

    def _experiment(self, watch: str) -> str:
        from mlflow.exceptions import MlflowException

        if known := self._client.get_experiment_by_name(watch):
            return str(known.experiment_id)
        try:
            return str(self._client.create_experiment(watch, artifact_location=f"{IN_LAKE}mlflow/{watch}"))
        except MlflowException as error:
            if known := self._client.get_experiment_by_name(watch):  # another process was faster
                return str(known.experiment_id)
            raise RegistryError(f"cannot create the experiment {watch}: {error.message}") from error

    def _versions(self, watch: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            with _errors_told(f"read the versions of {watch}"):
                page = self._client.search_model_versions(f"name='{watch}'", max_results=200, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _aliases(self, watch: str) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            model = self._client.get_registered_model(watch)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise RegistryError(f"cannot read the model {watch}: {error.message}") from error
        return {alias: int(version) for alias, version in model.aliases.items()}


@contextmanager
def _errors_told(doing: str) -> Iterator[None]:
    """Turn MLflow's errors into the house's."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"cannot {doing}: {error.message}") from error


def _registered(made: Any) -> Registered:
    return Registered(
        watch=made.name, version=int(made.version), source=made.source, sha256=made.tags.get("sha256", "")
    )


def folder_of(registered: Registered) -> str:
    """Return a version's folder in the lake.

    Raises:
        RegistryError: the version was not registered by this release.
    """
    if not registered.source.startswith(IN_LAKE):
        raise RegistryError(
            f"version {registered.version} of {registered.watch} lies at {registered.source}, wanted {IN_LAKE}…; "
            f"retrain, or roll back to another version"
        )
    return registered.source.removeprefix(IN_LAKE)
