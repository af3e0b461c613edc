import json
import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from tasks.drift import ColumnDrift, DriftRule, DriftVerdict, compare, judge, sample_by_hour
from tasks.drift_distance import distance, spread
from tasks.drift_report import page
from tasks.drift_sample import match
from watchkeeper.errors import DataError

RULE = DriftRule()
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
CHANNELS = ["flow", "level", "power", "pressure", "speed", "temperature"]


def plant(days, start_day=0, seed=1, minutes=10, cycle=1.0):
    """Six channels and a score: an hour of memory, a daily cycle in every second channel."""
    per_day = 1440 // minutes
    rng = np.random.default_rng([seed, start_day])
    n, memory = days * per_day, 60 // minutes
    noise = rng.normal(size=(n + memory - 1, len(CHANNELS) + 1))
    smooth = np.stack([np.convolve(column, np.ones(memory), "valid") / np.sqrt(memory) for column in noise.T], axis=1)
    phase = 2 * np.pi * np.arange(n) / per_day
    smooth[:, ::2] += cycle * np.sin(phase)[:, None]
    frame = pd.DataFrame(smooth.astype(np.float32), columns=["score", *CHANNELS])
    start = pd.Timestamp(MONDAY) + pd.Timedelta(days=start_day)
    frame.insert(0, "timestamp", pd.date_range(start, periods=n, freq=f"{minutes}min", unit="us"))
    return frame


@pytest.fixture(scope="module")
def reference():
    return plant(14)


@pytest.fixture
def current():
    return plant(2, start_day=14)


def column(verdict, name) -> ColumnDrift:
    return next(found for found in verdict.columns if found.column == name)


def drifted(verdict) -> set[str]:
    return {found.column for found in verdict.columns if found.drifted}


# The verdict


def test_the_same_world_does_not_drift():
    verdicts = [judge(plant(14, seed=seed), plant(2, start_day=14, seed=seed), RULE, seed) for seed in range(10)]

    assert not any(verdict.exceeds for verdict in verdicts)
    assert sum(len(drifted(verdict)) for verdict in verdicts) <= 4  # of 70 columns
    assert {verdict.hours_compared for verdict in verdicts} == {24}
    assert {(verdict.rows_reference, verdict.rows_current) for verdict in verdicts} == {(288, 288)}
    assert min(verdict.blocks for verdict in verdicts) >= 3


def test_a_third_of_the_channels_shifted_by_one_sigma_is_drift_and_is_named(reference, current):
    for name in ("flow", "power"):
        current[name] += reference[name].std()

    verdict = judge(reference, current, RULE, 1)

    assert verdict.exceeds
    assert drifted(verdict) == {"flow", "power"}
    assert verdict.share == pytest.approx(2 / 6)
    assert {found.column for found in verdict.columns[:2]} == {"flow", "power"}  # what drifted stands first
    assert column(verdict, "flow").kind == "values"
    assert column(verdict, "flow").statistic == pytest.approx(1, abs=0.3)
    assert "2 of 6 channels" in verdict.reasons[0]


def test_one_shifted_channel_is_seen_but_is_no_verdict(reference, current):
    current["level"] -= reference["level"].std()

    verdict = judge(reference, current, RULE, 1)

    assert drifted(verdict) == {"level"}
    assert not verdict.exceeds


def test_a_night_is_compared_with_nights():
    reference, current = plant(14, cycle=3.0, minutes=2), plant(3, start_day=14, cycle=3.0, minutes=2)
    night = current[current["timestamp"].dt.hour.isin([4, 5, 6, 7, 8])]

    verdict = judge(reference, night, RULE, 1)

    assert not verdict.exceeds
    assert verdict.hours_compared == 5
    found = column(verdict, "level")  # has the cycle
    assert not found.drifted
    unmatched = distance(reference["level"].to_numpy(np.float64), night["level"].to_numpy(np.float64))
    assert unmatched > 1.5 * found.threshold > 0.3  # without the matching this night would be drift
    assert found.statistic < 0.2


def test_weekends_are_compared_with_weekends():
    def week(days, start_day):
        frame = plant(days, start_day=start_day)
        frame.loc[frame["timestamp"].dt.dayofweek >= 5, CHANNELS] -= 3
        return frame

    reference = week(14, 0)
    verdict = judge(reference, week(2, 19), RULE, 1)  # a Saturday and a Sunday

    assert verdict.weekends_apart
    assert not verdict.exceeds
    workdays_only = reference[reference["timestamp"].dt.dayofweek < 5]
    verdict = judge(workdays_only, week(2, 19), RULE, 1)
    assert not verdict.weekends_apart  # no weekend to compare with: hours alone are matched
    assert verdict.exceeds


def test_the_verdict_does_not_depend_on_the_number_of_rows():
    minutely, latest = plant(20, minutes=1), plant(20, start_day=20, minutes=1)
    assert len(minutely) == len(latest) == 28_800
    for shift, expected in ((0.0, set()), (1.0, {"flow", "power"})):
        moved = latest.assign(**{name: latest[name] + np.float32(shift * 1.2) for name in ("flow", "power")})
        few = [sample_by_hour(frame, range(24), 2000, seed=3) for frame in (minutely, moved)]
        many_verdict, few_verdict = judge(minutely, moved, RULE, 1), judge(*few, RULE, 1)

        assert drifted(many_verdict) == drifted(few_verdict) == expected
        assert many_verdict.exceeds == few_verdict.exceeds == bool(expected)
        assert many_verdict.rows_current <= 2000


def test_the_same_seed_gives_the_same_verdict_in_any_order_of_rows(reference, current):
    first = judge(reference, current, RULE, 7)
    shuffled = current.sample(frac=1, random_state=0)[list(reversed(current.columns))]

    assert judge(reference, current, RULE, 7) == first
    assert judge(reference, shuffled, RULE, 7) == first


def test_the_score_alone_is_a_verdict_when_it_is_sure(reference, current):
    found = column(judge(reference, current, RULE, 1), "score")
    limit = found.threshold * reference["score"].std() * np.sign(found.current_mean - found.reference_mean)
    a_little = current.assign(score=current["score"] + np.float32(1.1 * limit))
    a_lot = current.assign(score=current["score"] + np.float32(2 * limit))

    little, lot = judge(reference, a_little, RULE, 1), judge(reference, a_lot, RULE, 1)

    assert drifted(little) == drifted(lot) == {"score"}
    assert not little.exceeds
    assert lot.exceeds
    assert lot.share == 0


def test_what_the_reference_does_itself_is_not_drift():
    """A level that wanders from day to day: the fixed threshold alone cries wolf, the reference's own days do not."""

    def wandering(days, start_day):
        frame = plant(days, start_day=start_day, minutes=5)
        level = np.random.default_rng(start_day).uniform(-1.5, 1.5, size=days)
        day = ((frame["timestamp"] - frame["timestamp"].iloc[0]) // pd.Timedelta(days=1)).to_numpy()
        return frame.assign(flow=frame["flow"] + level[day].astype(np.float32))

    reference = wandering(14, 0)
    checks = [(wandering(1, day)) for day in range(14, 19)]
    calibrated = [column(judge(reference, check, RULE, 1), "flow") for check in checks]
    fixed = [column(judge(reference, check, DriftRule(margin=0), 1), "flow") for check in checks]

    assert not any(found.drifted for found in calibrated)
    assert sum(found.drifted for found in fixed) >= 3
    assert all(found.threshold > RULE.threshold for found in calibrated)


def test_a_short_reference_says_that_it_measures_nothing(current):
    verdict = judge(plant(3), current, RULE, 1)

    assert verdict.blocks == 0
    assert "too short" in verdict.reasons[-1]
    assert all(found.threshold == RULE.threshold for found in verdict.columns)


# Sensors


def test_a_channel_that_dropped_out_has_drifted(reference, current):
    current["flow"] = np.float32(np.nan)
    current.loc[current.index[::2], "level"] = np.nan
    current.loc[current.index[::10], "power"] = np.nan  # 10 % more than before: not enough

    verdict = judge(reference, current, RULE, 1)

    assert drifted(verdict) == {"flow", "level"}
    assert column(verdict, "flow").kind == column(verdict, "level").kind == "missing"
    assert column(verdict, "flow").current_mean is None
    assert column(verdict, "flow").missing_current == 1
    assert column(verdict, "level").missing_current == pytest.approx(0.5, abs=0.05)
    assert "no values at all" in column(verdict, "flow").reason


def test_infinite_values_count_as_missing(reference, current):
    current["flow"] = np.float32(np.inf)

    assert column(judge(reference, current, RULE, 1), "flow").missing_current == 1


def test_a_stuck_channel_has_drifted(reference, current):
    current["flow"] = np.float32(reference["flow"].mean())  # stuck where a mean would see nothing

    verdict = judge(reference, current, RULE, 1)

    assert drifted(verdict) == {"flow"}
    assert column(verdict, "flow").kind == "stuck"


def test_a_channel_that_is_often_constant_is_not_stuck(reference, current):
    """An error counter that moves on one day of the reference in four and stays at zero today."""
    day = reference["timestamp"].dt.day
    busy = reference.assign(flow=np.where(day % 4 == 0, np.abs(reference["flow"]), 0).astype(np.float32))

    assert column(judge(busy, current.assign(flow=np.float32(0)), RULE, 1), "flow").kind == "none"


def test_a_constant_channel_does_not_drift(reference, current):
    verdict = judge(reference.assign(flow=np.float32(0.1)), current.assign(flow=np.float32(0.1)), RULE, 1)

    found = column(verdict, "flow")
    assert not found.drifted
    assert found.statistic == found.spread == 0
    assert found.reason == "constant on both sides"


@pytest.mark.parametrize("constant_now", [True, False])
def test_a_constant_channel_that_changes_has_drifted(reference, current, constant_now):
    now = np.float32(5) if constant_now else current["flow"]

    verdict = judge(reference.assign(flow=np.float32(0.1)), current.assign(flow=now), RULE, 1)

    assert column(verdict, "flow").kind == "unstuck"
    assert "constant at 0.1 in the reference" in column(verdict, "flow").reason


def test_a_constant_channel_with_a_rare_event_has_not_drifted(reference, current):
    now = current.assign(flow=np.float32(4))
    now.loc[now.index[::50], "flow"] = np.float32(9)  # 2 % of the rows

    assert not column(judge(reference.assign(flow=np.float32(4)), now, RULE, 1), "flow").drifted


def test_a_channel_without_values_on_both_sides_is_not_compared(reference, current):
    nothing = np.float32(np.nan)

    verdict = judge(reference.assign(flow=nothing), current.assign(flow=nothing), RULE, 1)

    assert column(verdict, "flow").reason == "too few values to compare"
    assert drifted(verdict) == set()


def test_a_doubled_deviation_has_drifted_though_the_mean_stands(reference, current):
    current["flow"] = current["flow"].mean() + 2 * (current["flow"] - current["flow"].mean())

    verdict = judge(reference, current, DriftRule(threshold=5), 1)

    assert drifted(verdict) == {"flow"}
    assert column(verdict, "flow").kind == "spread"
    assert column(verdict, "flow").spread > column(verdict, "flow").spread_threshold


# What is refused


def test_columns_that_differ_are_named(reference, current):
    with pytest.raises(DataError, match=r"only in the reference \['flow'\], only in current \['flux'\]"):
        judge(reference, current.rename(columns={"flow": "flux"}), RULE, 1)


@pytest.mark.parametrize("rows", [100, 199])
def test_too_few_rows_are_refused_with_advice(reference, current, rows):
    with pytest.raises(DataError, match="wanted 200; check a longer period"):
        judge(reference, current.iloc[:rows], RULE, 1)


def test_hours_that_never_meet_are_refused(reference, current):
    day, night = reference["timestamp"].dt.hour >= 12, current["timestamp"].dt.hour < 12
    with pytest.raises(DataError, match="0 rows lie in hours"):
        judge(reference[day], current[night], RULE, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="score"), "needs a column 'score'"),
        (lambda frame: frame.drop(columns=CHANNELS), "at least one channel"),
        (lambda frame: frame.drop(columns="timestamp"), "no column 'timestamp'"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"].dt.tz_localize(None)), "wanted datetime64"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"].dt.tz_convert("Asia/Tokyo")), "wanted datetime64"),
        (lambda frame: frame.assign(series="line_1"), "one series"),
        (lambda frame: frame.iloc[:0], "0 rows lie in hours"),
    ],
)
def test_unusable_frames_are_refused(reference, current, change, message):
    with pytest.raises(DataError, match=message):
        judge(change(reference), change(current), RULE, 1)


# Samples and distances


def test_a_sample_takes_as_many_rows_of_each_hour_and_of_each_day(reference):
    drawn = sample_by_hour(reference, [3, 4, 22], 126, seed=1)

    assert drawn["timestamp"].dt.hour.value_counts().to_dict() == {3: 42, 4: 42, 22: 42}
    assert set(drawn["timestamp"].dt.date.value_counts()) == {9}
    assert drawn["timestamp"].is_monotonic_increasing
    assert drawn.index.is_unique
    assert drawn.equals(sample_by_hour(reference, [22, 3, 4], 126, seed=1))
    assert not drawn.equals(sample_by_hour(reference, [22, 3, 4], 126, seed=2))
    assert len(sample_by_hour(reference, range(24), 10**6, seed=1)) == len(reference)


slot_lists = st.lists(st.integers(0, 47), min_size=1, max_size=300).map(lambda slots: np.array(slots, np.int64))


@settings(deadline=None)
@given(slot_lists, slot_lists, st.integers(1, 400), st.integers(0, 5))
def test_both_sides_get_the_same_number_of_rows_of_each_slot(here, there, rows, seed):
    drawn_here, drawn_there = match(here, there, rows, np.random.default_rng(seed))

    assert sorted(here[drawn_here]) == sorted(there[drawn_there])
    assert len(drawn_here) <= rows
    assert len(np.unique(drawn_here)) == len(drawn_here)
    assert len(np.unique(drawn_there)) == len(drawn_there)
    common = np.intersect1d(here, there)
    if len(common) and rows >= len(common):
        assert set(here[drawn_here]) == set(common)


values = st.lists(st.integers(-1000, 1000), min_size=2, max_size=60).map(lambda x: np.array(x, np.float64))


@settings(deadline=None)
@given(values.filter(lambda x: np.ptp(x) > 0), values)
def test_the_distance_is_the_wasserstein_distance_in_sigmas(here, there):
    assert distance(here, there) == pytest.approx(wasserstein_distance(here, there) / np.std(here), rel=1e-9, abs=1e-12)
    assert distance(here * 1e-6, there * 1e-6) == pytest.approx(distance(here, there), rel=1e-6, abs=1e-9)
    assert spread(here, there + 500) == pytest.approx(spread(here, there), rel=1e-9, abs=1e-9)


def test_the_distance_of_hand_computed_samples():
    # deviation of (0, 2) is 1; every value moves by 3
    assert distance(np.array([0.0, 2.0]), np.array([3.0, 5.0])) == pytest.approx(3)
    # (0, 2) against (-1, 3): each end moves by 1
    assert spread(np.array([0.0, 2.0]), np.array([9.0, 13.0])) == pytest.approx(1)


# Records and the page


def test_the_verdict_is_plain_json(reference, current):
    verdict = judge(reference, current.assign(flow=np.float32(np.nan)), RULE, 1)

    record = json.loads(json.dumps(verdict.to_json(), allow_nan=False))

    assert record == verdict.to_json()
    assert record["columns"][0]["column"] == "flow"
    assert record["period_current"] == ["2026-03-16T00:00:00+00:00", "2026-03-17T23:50:00+00:00"]


def test_the_page_says_what_the_verdict_says_and_loads_nothing(reference, current):
    hostile = "</script><script>document.title='owned'</script>"
    rename = {"flow": hostile, "level": "a & <b>b</b>"}
    reference, current = reference.rename(columns=rename), current.rename(columns=rename)
    current[hostile] += 2
    current["power"] = np.float32(0.5)
    current["pressure"] = 3 * current["pressure"]
    current.loc[current.index[:250], "speed"] = np.nan

    verdict, text = compare(reference, current, RULE, 1)

    assert verdict == judge(reference, current, RULE, 1)
    assert drifted(verdict) == {hostile, "power", "pressure", "speed"}
    seen = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # what a browser reads as page
    assert "<title>Drift</title>" in seen
    assert seen.index(">Drift</h1>") < seen.index("4 of 6 channels drifted (67%)") < seen.index("root_watchkeeper_0")
    assert "stuck at 0.5" in seen
    assert "&lt;/script&gt;" in seen
    assert "a &amp; &lt;b&gt;b&lt;/b&gt;" in seen
    assert hostile not in text
    assert "<b>b</b>" not in text
    assert not re.search(r"<(?:link|iframe|img|object|embed|base|meta http)\b", seen, flags=re.I)
    assert not re.search(r"""(?:src|href)\s*=|url\((?!data:)|@import""", seen, flags=re.I)
    assert "<script>" in text
    assert not re.search(r"<script[^>]+>", seen)
    # Evidently marks as drifted what the verdict marks, by the same numbers.
    for found in verdict.columns:
        if found.kind in ("values", "spread"):
            shown = found.spread if found.kind == "spread" else found.statistic
            assert f"Drift score: {round(shown, 3)}" in text
    assert text.count("Data drift detected") == sum(found.kind in ("values", "spread") for found in verdict.columns)
    assert compare(reference, current, RULE, 1)[1] == text


def test_the_page_without_anything_to_draw_is_still_a_page(reference):
    constant = ColumnDrift("flow", "stuck", 0.0, 0.25, 0.0, 0.2, True, 1.0, 2.0, 0.0, 0.0, "stuck at <2>")
    period = ("2026-03-02T00:00:00+00:00", "2026-03-03T00:00:00+00:00")
    verdict = DriftVerdict(True, 1.0, (constant,), ("1 of 1 channels drifted.",), 288, 288, 24, True, 0, period, period)

    text = page(verdict, reference, reference)

    assert "stuck at &lt;2&gt;" in text
    assert "<script" not in text
