"""The command line: the door of the house. Heavy packages are imported by the command that needs them."""

from watchkeeper.cli.app import main

__all__ = ["main"]
