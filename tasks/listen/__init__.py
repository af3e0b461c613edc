"""Listening: messages of a broker into the inbox, acknowledged once they are written."""
