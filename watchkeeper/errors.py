"""The errors of Watchkeeper: a small tree, each with the exit status the command line ends with.

A message says what failed, what was found, what was wanted and where, and what to do. It never holds a secret.
"""


class WatchkeeperError(Exception):
    """Something failed that a person can act on. The command line shows it as one line."""

    exit_status = 1


class BadInputError(WatchkeeperError):
    """What the user gave cannot be used; nothing was changed."""

    exit_status = 2


class SettingsError(BadInputError):
    """A setting is unknown, missing or of the wrong kind."""


class WatchError(BadInputError):
    """A watch is unknown, or its file is not valid."""


class DataError(BadInputError):
    """Input data is missing or not usable."""


class SourceError(WatchkeeperError):
    """A database that rows come from cannot be reached, or failed."""


class LeakageError(WatchkeeperError):
    """Held-out rows were about to reach training code."""


class LakeError(WatchkeeperError):
    """The lake could not be read or written."""


class ObjectNotFoundError(LakeError):
    """The lake answers, and has no such object."""


class RegistryError(WatchkeeperError):
    """The registry could not be read or written."""


class BusyError(WatchkeeperError):
    """Another process does the same work at this moment."""


class VersionNotFoundError(BadInputError):
    """There is no such version of the watch's model."""


class VersionRefusedError(WatchkeeperError):
    """A version's folder is damaged, tampered with, or does not fit the data."""
