from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.check_drift import cooling_since, count_before, emit, read_checks
from watchkeeper.lake import Lake
from watchkeeper.records import DriftCheck

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def check(
    hour: float, *, exceeds: bool = True, version: int = 1, until: float | None = None, started: bool = False
) -> DriftCheck:
    """A check so many hours after noon, of rows up to the same hour unless said."""
    return DriftCheck(
        watch="w", version=version, when=NOON + hour * HOUR,
        until=NOON + (hour if until is None else until) * HOUR, exceeds=exceeds, consecutive=1, started=started,
        reasons=("it moved",), report="r", verdict="v", event_id=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("earlier", "count"),
    [
        ([], 0),
        ([check(1)], 1),
        ([check(1), check(2)], 2),
        ([check(1, exceeds=False)], 0),
        ([check(1), check(2, exceeds=False)], 0),
        ([check(1), check(2, exceeds=False), check(3)], 1),
        ([check(1), check(2, version=2)], 0),
        ([check(1, version=2), check(2)], 1),
        ([check(1, until=9)], 0),
        ([check(1), check(2, until=9)], 1),
        ([check(1, until=1), check(2, until=1), check(3, until=1)], 1),
        ([check(1, until=1), check(2, until=1, exceeds=False)], 0),
    ],
    ids=str,
)
def test_checks_in_a_row(earlier: list[DriftCheck], count: int) -> None:
    """A check without drift or of another version breaks the row; the same rows judged again count once."""
    assert count_before(earlier, version=1, until=NOON + 9 * HOUR, fresh=HOUR) == count


@pytest.mark.parametrize(
    ("hours", "count"),
    [
        ([23], 0),
        ([*range(1, 24)], 0),  # hourly checks for less than a day: all say the same
        ([*range(24)], 1),
        ([0], 1),
        ([-23], 1),  # the newest pair is two days apart, and so it counts once
        ([-24, 0], 2),
        ([-24, -12, 0, 12], 2),
        ([*range(-71, 24)], 3),
    ],
)
def test_a_verdict_on_almost_the_same_rows_is_no_second_one(hours: list[int], count: int) -> None:
    """With a window of four days, verdicts count when their rows end a day apart, however often checks run."""
    earlier = [check(hour) for hour in hours]
    assert count_before(earlier, version=1, until=NOON + 24 * HOUR, fresh=24 * HOUR) == count


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 2), st.integers(0, 12)), max_size=12),
    st.integers(1, 5),
)
def test_checks_in_a_row_against_a_slow_loop(story: list[tuple[bool, int, int]], fresh: int) -> None:
    """The longest chain of ends in the unbroken tail that lie `fresh` apart, tried hour by hour."""
    earlier = [check(hour, exceeds=e, version=v, until=u) for hour, (e, v, u) in enumerate(story)]
    tail: set[int] = set()
    for exceeds, version, until in reversed(story):
        if not exceeds or version != 1:
            break
        tail.add(until)
    best = {12: 0}  # by end: how many verdicts lie after it, the one under way not counted
    for end in range(12, -1, -1):
        if end in tail:
            best |= {end: max((n + 1 for later, n in best.items() if later - end >= fresh), default=0)}
    chains = [n for end, n in best.items() if end <= 12]
    assert count_before(earlier, 1, NOON + 12 * HOUR, fresh * HOUR) == max(chains)


@pytest.mark.parametrize(
    ("earlier", "since"),
    [
        ([], None),
        ([check(1)], None),
        ([check(1, started=True)], 1),
        ([check(1, started=True), check(2)], 1),
        ([check(1, started=True), check(2, started=True)], 2),
        ([check(-14, started=True)], None),  # a day and two hours ago
        ([check(-12, started=True)], None),  # a day ago to the second: over
        ([check(-11.99, started=True)], -11.99),
        ([check(-14, started=True), check(3, started=True)], 3),
    ],
    ids=str,
)
def test_the_cool_down_begins_with_the_last_event(earlier: list[DriftCheck], since: float | None) -> None:
    """Drift that started nothing cools nothing."""
    now = NOON + 12 * HOUR
    assert cooling_since(earlier, now, 24 * HOUR) == (None if since is None else NOON + since * HOUR)


def test_without_a_cool_down_nothing_cools() -> None:
    """A pause of zero hours lets every event through."""
    assert cooling_since([check(12, started=True)], NOON + 12 * HOUR, timedelta(0)) is None


def write(lake: Lake, one: DriftCheck, folder: str, name: str) -> None:
    lake.put_json(f"reports/w/{folder}/{name}.json", {"check": one.model_dump(mode="json"), "series": {}})


def test_checks_are_read_in_the_order_of_their_making(lake: Lake) -> None:
    """Folders are named by the day of the data, which after a late ingest may run against the clock."""
    write(lake, check(3), "2026-01-04", "drift-c")
    write(lake, check(1), "2026-01-06", "drift-a")
    write(lake, check(2), "2026-01-05", "drift-b")
    lake.put("reports/w/2026-01-05/drift-b.html", b"<html>")
    lake.put_json("reports/w/2026-01-05/evaluation-1.json", {"no": "check"})
    lake.put_json("reports/w2/2026-01-05/drift-d.json", {"check": check(9).model_dump(mode="json")})
    assert read_checks(lake, "w") == [check(1), check(2), check(3)]
    assert read_checks(lake, "nobody") == []


def test_without_an_engine_no_event_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever called acts on the record instead."""

    def fail(**_: object) -> None:
        raise AssertionError("sent")

    monkeypatch.setattr("prefect.events.emit_event", fail)
    emit(check(1, started=True))
