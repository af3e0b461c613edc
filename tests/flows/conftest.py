"""A real Prefect server, and the life of a watch told through the flows, with Prefect's engine and without."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.lake import Lake
from watchkeeper.records import Decision, DriftCheck, Ingested, Retrained, Scored
from watchkeeper.registry import Registry, folder_of

WATCH = "tiny"
FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Life:
    """What the flows returned, in the order in which they ran, and the home that they ran in."""

    home: Path
    retrained: Retrained
    scored: Scored
    ingested: tuple[Ingested, Ingested]
    checks: tuple[DriftCheck, DriftCheck]
    rolled_back: Decision
    returned: Decision

    @property
    def lake(self) -> Lake:
        return Lake((self.home / "lake").as_uri())

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.home / 'registry.db'}")


def live(home: Path, watches: Path, call: Callable[..., Any]) -> Life:
    """Train, score, see the world change in two checks, roll back to a second version, and return to the first.

    Args:
        home: an empty folder.
        watches: where the watch file is.
        call: runs a flow: call(flow, **parameters).
    """
    from flows.check_drift import check_drift
    from flows.ingest import ingest
    from flows.retrain import retrain
    from flows.rollback import rollback
    from flows.score import score

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATCHKEEPER_HOME", str(home))
        patch.setenv("WATCHKEEPER_WATCHES", str(watches))
        retrained = call(retrain, watch=WATCH)
        scored = call(score, watch=WATCH)
        ingested, checks = [], []
        for day in (8, 9):  # two checks in a row, the world having changed after day 6
            ingested.append(call(ingest, watch=WATCH, until=FIRST_DAY.replace(day=FIRST_DAY.day + day)))
            checks.append(call(check_drift, watch=WATCH))
        _second_version(home)
        return Life(
            home=home,
            retrained=retrained,
            scored=scored,
            ingested=(ingested[0], ingested[1]),
            checks=(checks[0], checks[1]),
            rolled_back=call(rollback, watch=WATCH, to=2, why="a test"),
            returned=call(rollback, watch=WATCH, why="a test"),
        )


def _second_version(home: Path) -> None:
    """Register version 1 once more: a version to roll back to, at no cost."""
    registry = Registry(f"sqlite:///{home / 'registry.db'}")
    first = registry.get(WATCH, 1)
    registry.register(
        WATCH,
        "second",
        folder_of(first),
        first.sha256,
        parameters={},
        metrics={},
        history=(),
        tags={"snapshot": "none"},
    )


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A real server of Prefect's, on a database of its own, as long as the session lasts."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def through_prefect(prefect_server: None, tmp_path_factory: pytest.TempPathFactory, tiny_watches: Path) -> Life:  # noqa: ARG001 - must be there
    """The life of a watch through Prefect's engine."""
    return live(tmp_path_factory.mktemp("prefect"), tiny_watches, lambda flow, **parameters: flow(**parameters))


@pytest.fixture(scope="session")
def directly(tmp_path_factory: pytest.TempPathFactory, tiny_watches: Path) -> Life:
    """The life of a watch without an engine."""
    return live(tmp_path_factory.mktemp("direct"), tiny_watches, lambda flow, **parameters: flow.fn(**parameters))
