"""The library of past incidents: what gets in, by reference, and how both detectors are judged on it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from models.detector import Scored
from tasks import incidents as module
from tasks.incidents import Taught, build_library, judge_incidents
from tasks.ingest import ingest
from tasks.rows import read_rows, read_snapshot
from watchkeeper.clock import to_microseconds
from watchkeeper.labels import read_labels, write_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Incident, Snapshot

ROWS, HELD_OUT = 1200, 900
CHANNELS = ("a", "b", "c")


@pytest.fixture
def stored(lake: Lake, source: Any) -> tuple[Snapshot, Any]:
    """A snapshot of one labelled series, and its source."""
    labels = {(50, 56): 1, (200, 206): 1, (210, 212): 1, (500, 540): 1, (600, 610): -1, (895, 905): 1, (1000, 1010): 1}
    source.write("pump", source.table(ROWS, label=labels))
    snapshot = read_snapshot(lake, "unit", ingest(lake.uri, source.watch()).snapshot)
    return snapshot, source


def library_of(lake: Lake, snapshot: Snapshot, source: Any, **before: int) -> list[Incident]:
    found = before or {"pump": HELD_OUT}
    at = {series: to_microseconds(source.time(row)) for series, row in found.items()}
    return build_library(lake, snapshot, read_labels(lake, snapshot.labels), at)


def places(library: list[Incident], source: Any) -> list[tuple[int, int]]:
    """Rows of the incidents, half open."""
    step = timedelta(minutes=source.minutes)
    return [((one.start - source.start) // step, (one.end - source.start) // step + 1) for one in library]


def test_incidents_are_the_anomalies_before_the_held_out_rows(lake: Lake, stored: Any) -> None:
    """Close ones are one; what is too early, unknown, or reaches into the held-out rows is left out."""
    assert places(library_of(lake, *stored), stored[1]) == [(200, 212), (500, 540)]
    assert places(library_of(lake, *stored, pump=1100), stored[1]) == [(200, 212), (500, 540), (895, 905), (1000, 1010)]
    assert library_of(lake, *stored, pump=200) == []
    assert places(library_of(lake, *stored, pump=212), stored[1]) == [(200, 212)]
    assert library_of(lake, *stored, pump=211) == []


def test_people_count_and_inferences_do_not(lake: Lake, stored: Any) -> None:
    """A person's word adds an incident and takes one away; a propagated label does neither."""
    snapshot, source = stored
    at = [to_microseconds(source.time(row)) for row in (300, 310, 500, 540, 700, 710)]
    human = write_labels(
        lake, "unit", [("pump", at[0], at[1], 1), ("pump", at[2], at[3], 0)], "ann", "human", source.time(0)
    )
    guess = write_labels(lake, "unit", [("pump", at[4], at[5], 1)], "spreading", "propagated", source.time(0))
    more = snapshot.model_copy(update={"labels": (*snapshot.labels, human, guess)})
    assert places(library_of(lake, more, source), source) == [(200, 212), (300, 310)]


def test_the_newest_are_kept(lake: Lake, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an evaluation's cost is bounded."""
    monkeypatch.setattr(module, "MOST", 1)
    assert places(library_of(lake, *stored), stored[1]) == [(500, 540)]


def test_rows_are_referred_to_and_not_copied(lake: Lake, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are raw files of the snapshot which hold the incident and the context before it, and no others."""
    snapshot, source = stored
    monkeypatch.setattr(module, "CONTEXT", 30)
    monkeypatch.setattr(module, "AFTER", 0)
    first, second = library_of(lake, snapshot, source)
    assert first.since == source.time(170)
    by_key = {file.key: file for file in snapshot.files}
    for one in (first, second):
        dates = [by_key[key].date for key in one.files]
        assert dates == [f"{one.since:%Y-%m-%d}", *([f"{one.end:%Y-%m-%d}"] if one.end.day != one.since.day else [])]


@dataclass
class Stub:
    """A detector that scores by the level of channel a, and remembers what it was given."""

    height: float
    level: float = 0.0
    series: tuple[str, ...] = ("pump",)
    seen: list[np.ndarray] = field(default_factory=list)

    def score(self, _series: str, values: np.ndarray, times: np.ndarray) -> tuple[Scored, dict[str, Any]]:
        self.seen.append(times)
        score = np.where(values[:, 0] > self.height, 10.0, self.level)
        threshold = np.full(len(score), 5.0)
        return Scored(score, threshold, score >= threshold, {}, np.zeros_like(values)), {}


def judge(lake: Lake, library: list[Incident], own: Any, champion: Any, **changes: Any) -> list[Any]:
    arguments = {"learnt": [], "usual": {"pump": 0.0}, **changes}
    return [one.result for one in judge_incidents(lake, library, CHANNELS, own, champion, **arguments)]


def test_found_is_an_alarm_inside_and_the_delay_is_in_seconds(lake: Lake, source: Any) -> None:
    """The candidate sees the higher anomaly alone, from its third row on; the champion sees both from their start."""
    table = source.table(ROWS, label={(300, 306): 1, (500, 506): 1})
    values = table["a"].to_numpy().copy()
    values[300:306], values[500:506], values[502:506] = 60.0, 60.0, 90.0
    values[400] = 100.0  # an alarm between the incidents finds neither
    source.write("pump", table.set_column(1, "a", [values]))
    snapshot = read_snapshot(lake, "unit", ingest(lake.uri, source.watch()).snapshot)
    library = library_of(lake, snapshot, source)
    first, second = judge(lake, library, Stub(80.0), Stub(50.0))
    assert (first.found, first.delay_s, first.champion_found, first.champion_delay_s) == (False, None, True, 0.0)
    assert (second.found, second.delay_s, second.champion_found) == (True, 1200.0, True)
    assert str(second) == f"pump {source.time(500):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize("champion", [None, Stub(50.0, series=("fan",))], ids=["none", "of another series"])
def test_without_a_champion_nothing_is_said_of_it(lake: Lake, stored: Any, champion: Any) -> None:
    """There is none, or it came before the series."""
    for one in judge(lake, library_of(lake, *stored), Stub(0.0), champion):
        assert (one.found, one.champion_found, one.champion_delay_s) == (True, None, None)


def test_surroundings_that_look_other_than_the_held_out_rows_do_not_count(lake: Lake, stored: Any) -> None:
    """Exactly one unit off is the same world still; the rows of the incidents themselves do not weigh."""
    library = library_of(lake, *stored)
    for usual, comparable in ((1.0, True), (-1.0, True), (1.01, False), (-1.01, False)):
        found = judge(lake, library, Stub(90.0), None, usual={"pump": usual})
        assert [one.comparable for one in found] == [comparable] * 2


def test_an_incident_that_training_was_told_of_is_marked(lake: Lake, stored: Any) -> None:
    """An overlap of the same series is enough; one that only touches is none."""
    snapshot, source = stored
    library = library_of(lake, snapshot, source)
    at = [to_microseconds(source.time(row)) for row in (190, 200, 211, 230)]
    cases = [
        ([Taught("pump", at[0], at[1])], False),
        ([Taught("pump", at[0], at[1] + 1)], True),
        ([Taught("fan", at[0], at[3])], False),
        ([Taught("pump", at[2], at[3])], True),
    ]
    for learnt, told in cases:
        first, second = judge(lake, library, Stub(0.0), None, learnt=learnt)
        assert (first.learnt, second.learnt) == (told, False)


def test_incidents_with_a_common_context_are_scored_once_and_others_apart(
    lake: Lake, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored rows begin with the context; far incidents do not drag the rows between them along."""
    snapshot, source = stored
    whole = read_rows(lake, snapshot, "pump", CHANNELS).timestamps
    for context, starts in ((400, [0]), (100, [100, 400])):
        monkeypatch.setattr(module, "CONTEXT", context)
        stub = Stub(0.0)
        judge(lake, library_of(lake, snapshot, source), stub, None)
        assert [int(np.searchsorted(whole, times[0])) for times in stub.seen] == starts
        for times in stub.seen:
            first = int(np.searchsorted(whole, times[0]))
            assert np.array_equal(times, whole[first : first + len(times)])
