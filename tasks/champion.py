"""Versions from the registry, as detectors ready to score."""

from dataclasses import dataclass

from models.detector import Detector, build_detector
from watchkeeper.errors import VersionNotFoundError, VersionRefusedError
from watchkeeper.lake import Lake
from watchkeeper.records import Registered
from watchkeeper.registry import CHAMPION, Registry, folder_of
from watchkeeper.version import Version, read_version


@dataclass(frozen=True, eq=False)
class Served:
    """A version with its detector."""

    registered: Registered
    version: Version
    detector: Detector


def load(lake: Lake, registered: Registered) -> Served:
    """Read a version's folder and build its detector.

    Raises:
        VersionRefusedError: the folder is damaged, was tampered with, or holds what this release does not know.
    """
    version = read_version(lake, folder_of(registered), registered.sha256)
    return Served(registered, version, build_detector(version.manifest.detector, version.arrays))


def readable(lake: Lake, registered: Registered) -> bool:
    """Tell whether a version's folder is as it was written."""
    try:
        load(lake, registered)
    except VersionRefusedError:
        return False
    return True


def find_champion(lake: Lake, registry: Registry, watch: str) -> Served | None:
    """Return the watch's champion, or None before the first promotion."""
    registered = registry.alias(watch, CHAMPION)
    return load(lake, registered) if registered else None


def require_champion(lake: Lake, registry: Registry, watch: str) -> Served:
    """Return the watch's champion.

    Raises:
        VersionNotFoundError: there is none.
    """
    champion = find_champion(lake, registry, watch)
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
