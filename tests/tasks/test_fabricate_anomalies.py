"""What goes wrong in the fabricated facilities: labels, shares, forms, and rows that stay as they were."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.fabricate import water
from tasks.fabricate.anomalies import Event
from tasks.fabricate.facility import HUNTING, ranges
from tasks.fabricate.plan import APART, LENGTHS, SHARES, plan, read_kinds
from tasks.fabricate.run import FACILITIES, Run, pieces
from tasks.fabricate.timeline import Timeline
from watchkeeper.errors import BadInputError

MONDAY = datetime(2025, 1, 6, tzinfo=UTC)
NAMES = tuple(FACILITIES)
DAYS = {"water": 60, "nuclear": 30, "grid": 8}


@cache
def made(name: str, kinds: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, tuple[Event, ...]]:
    """Float32 (time, channel), int8 (time,), events."""
    parts = list(pieces(Run(name, MONDAY, DAYS[name], 4, kinds)))
    columns = [channel.name for channel in FACILITIES[name].channels]
    values = np.concatenate([np.stack([part.table[c].to_numpy() for c in columns], axis=1) for part in parts])
    label = np.concatenate([part.table["label"].to_numpy() for part in parts])
    return values, label, tuple(event for part in parts for event in part.events)


ALL = tuple(SHARES)


@pytest.mark.parametrize("name", NAMES)
def test_labelled_rows_are_the_changed_rows_and_no_others(name: str) -> None:
    """Every labelled row differs from the world with nothing wrong; every other row is that world's."""
    values, label, events = made(name, ALL)
    calm, unlabelled, none = made(name, ())
    np.testing.assert_array_equal((values != calm).any(axis=1), label == 1)
    assert not unlabelled.any()
    assert none == ()
    expected = np.zeros(len(label), np.int8)
    for event in events:
        expected[event.start : event.end] = 1
    np.testing.assert_array_equal(label, expected)
    assert all(earlier.end + APART <= later.start for earlier, later in pairwise(events))


@pytest.mark.parametrize("name", NAMES)
def test_normal_rows_are_in_range_and_finite(name: str) -> None:
    values, label, _ = made(name, ALL)
    low, high = (bound.astype(np.float32) for bound in ranges(FACILITIES[name]))
    assert np.isfinite(values).all()
    assert (values[label == 0] >= low).all()
    assert (values[label == 0] <= high).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ALL)
def test_each_kind_has_its_share_of_the_rows(name: str, kind: str) -> None:
    _, label, events = made(name, ALL)
    rows = sum(event.end - event.start for event in events if event.kind == kind)
    assert rows / len(label) == pytest.approx(SHARES[kind], abs=1e-4)


@pytest.mark.parametrize("days", [3, 17, 33])
def test_shares_hold_roughly_in_a_run_that_ends_inside_a_block(days: int) -> None:
    label = np.concatenate([p.table["label"].to_numpy() for p in pieces(Run("water", MONDAY, days, 1))])
    assert label.mean() == pytest.approx(sum(SHARES.values()), abs=0.05 if days < 10 else 0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_kind_left_out_leaves_the_others_as_they_are(name: str) -> None:
    values, label, events = made(name, ALL)
    some, some_label, some_events = made(name, ("drift", "attack"))
    assert some_events == tuple(event for event in events if event.kind in ("drift", "attack"))
    at = some_label == 1
    np.testing.assert_array_equal(some[at], values[at])
    assert label[at].all()
    np.testing.assert_array_equal(some[~at], made(name, ())[0][~at])


@pytest.mark.parametrize("name", NAMES)
def test_sensor_anomalies_touch_the_channels_that_they_name(name: str) -> None:
    values, _, events = made(name, ALL)
    calm = made(name, ())[0]
    columns = [channel.name for channel in FACILITIES[name].channels]
    for event in events:
        changed = (values[event.start : event.end] != calm[event.start : event.end]).any(axis=0)
        touched = {column for column, moved in zip(columns, changed, strict=True) if moved}
        assert set(event.channels) <= touched
        assert event.channels
        if event.kind not in ("process", "cyclic"):
            assert set(event.channels) == touched


@pytest.mark.parametrize("name", NAMES)
def test_every_form_does_what_it_says(name: str) -> None:
    values, _, events = made(name, ALL)
    calm = made(name, ())[0].astype(np.float64)
    facility = FACILITIES[name]
    columns = [channel.name for channel in facility.channels]
    spread = np.array([channel.spread for channel in facility.channels])
    low, _ = ranges(facility)
    seen = set()
    for event in events:
        at = [columns.index(channel) for channel in event.channels]
        read = values[event.start : event.end, at].astype(np.float64)
        off = (read - calm[event.start : event.end, at]) / spread[at]
        seen.add(event.form)
        if event.form == "ramp":
            assert 2.9 < abs(off[-1, 0]) < 8.1
            halfway = off[len(off) // 2, 0] / off[-1, 0]
            assert halfway == pytest.approx(0.5, abs=0.02)
        elif event.form in ("clear", "subtle"):
            sizes = np.abs(off)
            assert (sizes > 3.9).all() == (event.form == "clear")
            assert len(at) <= 2
        elif event.form == "stuck":
            assert (read == values[event.start - 1, at]).all()
        elif event.form == "dead":
            assert (read < low[at]).all()
        elif event.form in ("replayed", "shifted"):
            equipment = {channel.equipment for channel in facility.channels if channel.name in event.channels}
            assert len(equipment) == 1
        elif event.form == "joint":
            assert 3 <= len(at) <= 5
            assert (np.abs(off[-1]) < 2.6).all()
        elif event.form == HUNTING:
            main = int(np.argmax(np.abs(off).max(axis=0)))
            signs = np.sign(off[:, main])
            assert signs.min() == -1
            assert signs.max() == 1
    assert {"ramp", "clear", "subtle", "stuck", "dead", "replayed", "shifted", "joint", HUNTING} <= seen
    assert len(seen & set(facility.faults)) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_replay_is_an_earlier_stretch_of_the_same_sensors(name: str) -> None:
    """Searched for in the readings of the same block, all channels of the machine at once."""
    values, _, events = made(name, ALL)
    calm = made(name, ())[0]
    facility = FACILITIES[name]
    columns = [channel.name for channel in facility.channels]
    block = facility.block_days * 86400 // facility.interval_s
    replays = [event for event in events if event.form == "replayed"]
    assert replays
    for event in replays:
        at = [columns.index(channel) for channel in event.channels]
        first = event.start // block * block
        found = np.flatnonzero((calm[first : event.start, at] == values[event.start, at]).all(axis=1)) + first
        length = event.end - event.start
        assert any(
            np.array_equal(calm[start : start + length, at], values[event.start : event.end, at]) for start in found
        )


def test_neighbours_of_an_attack_agree_with_each_other() -> None:
    """An attacker's grid keeps power = voltage × current × factor; sensors that fail together do not."""
    values, _, events = made("grid", ALL)
    columns = [channel.name for channel in FACILITIES["grid"].channels]

    def worst(event: Event) -> float:
        off = 0.0
        for equipment in FACILITIES["grid"].equipment:
            read = {c: values[event.start : event.end, i].astype(float) for i, c in enumerate(columns)}
            apparent = sum(
                read[f"{equipment}_voltage_{p}_kv"] * read[f"{equipment}_current_{p}_a"] for p in ("l1", "l2", "l3")
            )
            factor = read[f"{equipment}_power_output_mw"] / (apparent / np.sqrt(3) / 1000)
            off = max(off, float(np.abs(factor - 0.945).max()))
        return off

    attacks = [worst(event) for event in events if event.kind == "attack"]
    joint = [worst(event) for event in events if event.kind == "multi_sensor"]
    assert max(attacks) < 0.06
    assert np.median(joint) > 0.06


@pytest.mark.parametrize("fault", ["leak", HUNTING])
def test_a_fault_of_the_water_works_ends_with_the_level_it_found(fault: str) -> None:
    """What leaked is pumped back, the tank integrates it all the time, and after the event nothing is left of it."""
    facility = FACILITIES["water"]
    timeline = Timeline(1, MONDAY, 60, 10, None)
    timeline.advance()
    calm = {name: course[3000:3120] for name, course in facility.simulate(timeline).items()}
    wrong = {name: course.copy() for name, course in calm.items()}
    rows = np.arange(120)
    course = np.minimum(1, np.minimum(rows + 1, 120 - rows) / 12)
    course = np.sin(2 * np.pi * 4 * rows / 120 + 0.5) if fault == HUNTING else course
    facility.disturb(wrong, fault, course, 0.5)
    balance = wrong["flow_1"] + wrong["flow_2"] - wrong["out_a"] - wrong["out_b"] - wrong["leak"]
    np.testing.assert_allclose(np.diff(wrong["level"]), balance[:-1] / water.TANK_L * 100, atol=1e-9)
    moved = wrong["level"] - calm["level"]
    assert np.abs(moved).max() > 0.5 * (fault == "leak") + 0.02
    left = moved[-1] + (balance - (calm["flow_1"] + calm["flow_2"] - calm["out_a"] - calm["out_b"]))[-1] / 4000
    assert abs(left) < 1e-9


@given(rows=st.integers(4000, 60_000), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_a_plan_fills_every_share_and_keeps_events_apart(rows: int, seed: int) -> None:
    planned = plan(rows, np.random.default_rng(seed))
    for kind, share in SHARES.items():
        lengths = [event.end - event.start for event in planned if event.kind == kind]
        assert sum(lengths) == round(share * rows)
        assert all(length >= LENGTHS[kind][0] for length in lengths) or len(lengths) == 1
    assert planned[0].start >= APART
    assert planned[-1].end <= rows - APART
    assert all(earlier.end + APART <= later.start for earlier, later in pairwise(planned))
    assert [event.number for event in planned] == list(range(len(planned)))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("none", ()), ("all", ALL), ("drift", ("drift",)), ("spike, attack", ("spike", "attack"))],
)
def test_kinds_are_read_from_their_words(text: str, kinds: tuple[str, ...]) -> None:
    assert read_kinds(text) == kinds


@pytest.mark.parametrize("text", ["", "drifts", "drift,", "all,drift", "none,spike"])
def test_kinds_that_there_are_not_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="wanted none, all"):
        read_kinds(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"facility": "brewery"},
        {"start": datetime(2025, 1, 6)},
        {"seed": -1},
        {"days": 0},
        {"days": -3},
        {"days": float("nan")},
        {"days": float("inf")},
        {"days": 1e-9},
        {"days": 1e6},
        {"anomalies": ("flood",)},
    ],
)
def test_a_run_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        replace(Run("water", MONDAY, 1), **wrong)
