"""Rollback: an earlier version becomes champion again, if it can be read and fits the data."""

from tasks import champion
from tasks.rows import latest_snapshot
from tasks.step import step
from watchkeeper import promotion
from watchkeeper.errors import RegistryError, VersionRefusedError
from watchkeeper.lake import Lake
from watchkeeper.records import Decision, Registered
from watchkeeper.registry import PREVIOUS, Registry
from watchkeeper.watch import Watch


@step(retries=2)
def rollback(lake_uri: str, registry_uri: str, watch: Watch, to: int | None, why: str) -> Decision:
    """Make an earlier version champion again.

    Args:
        lake_uri: the lake.
        registry_uri: the registry.
        watch: whose champion.
        to: the version; None for the previous champion.
        why: for the audit record.

    Raises:
        VersionNotFoundError: there is no such version, or none to go back to.
        VersionRefusedError: its folder is damaged, or its channels do not fit the data. Nothing was changed.
    """
    lake = Lake(lake_uri)
    registry = Registry(registry_uri)
    target = registry.get(watch.name, to) if to is not None else registry.alias(watch.name, PREVIOUS)
    if target:
        _require_usable(lake, watch, target)
    return promotion.rollback(lake, registry, watch.name, to, why)


def _require_usable(lake: Lake, watch: Watch, target: Registered) -> None:
    """Refuse a version that could not score the watch's rows: a champion like that would leave nobody on watch."""
    snapshot = latest_snapshot(lake, watch.name)
    try:
        served = champion.load(lake, target)
        if snapshot:
            champion.require_fit(served, snapshot.channels)
    except (VersionRefusedError, RegistryError) as error:
        raise VersionRefusedError(
            f"cannot roll back to version {target.version} of watch {watch.name}: {error}"
        ) from error
