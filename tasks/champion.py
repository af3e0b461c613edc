"""Versions from the registry, as detectors ready to score."""

from dataclasses import dataclass

from models.detector import Detector
from watchkeeper.errors import BadInputError, VersionNotFoundError, VersionRefusedError
from watchkeeper.records import Registered
from watchkeeper.registry import CHAMPION, Registry, folder_of
from watchkeeper.version import Version, read_version


@dataclass(frozen=True, eq=False)
class Served:
    """A version with its detector."""

    registered: Registered
    version: Version
    detector: Detector


def load(registered: Registered) -> Served:
    """Read a version's folder and build its detector.

    Raises:
        VersionRefusedError: the folder is damaged or was tampered with.
    """
    version = read_version(folder_of(registered), registered.sha256)
    try:
        detector = Detector.from_arrays(version.manifest.detector, version.arrays)
    except (KeyError, TypeError, ValueError, RuntimeError, BadInputError) as error:  # torch's misfits are RuntimeErrors
        raise VersionRefusedError(
            f"version {registered.version} holds a detector that this release cannot build: {error!r}; retrain"
        ) from error
    return Served(registered, version, detector)


def find_champion(registry: Registry, watch: str) -> Served | None:
    """Return the watch's champion, or None before the first promotion."""
    registered = registry.alias(watch, CHAMPION)
    return load(registered) if registered else None


def require_champion(registry: Registry, watch: str) -> Served:
    """Return the watch's champion.

    Raises:
        VersionNotFoundError: there is none.
    """
    champion = find_champion(registry, watch)
    if champion is None:
        raise VersionNotFoundError(f"watch {watch} has no champion yet; run `watchkeeper retrain --watch {watch}`")
    return champion


def require_fit(served: Served, channels: tuple[str, ...]) -> None:
    """Refuse a version that was trained on other channels than the data have.

    Raises:
        VersionRefusedError: the channels differ.
    """
    trained = served.version.manifest.channels
    if trained != channels:
        odd = sorted(set(trained) ^ set(channels)) or ["their order"]
        raise VersionRefusedError(
            f"version {served.registered.version} does not fit the data: channels differ in {', '.join(odd[:5])}; "
            f"retrain, or roll back to a version with these channels"
        )
