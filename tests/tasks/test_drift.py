import json
import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import ttest_ind

from tasks.drift import ColumnDrift, DriftRule, DriftVerdict, compare, judge, sample_by_hour
from tasks.drift_hours import cut, holds
from tasks.drift_limits import less_course, moved
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


def sigma(rows, name) -> float:
    """The deviation of a channel around the mean of each hour of the day."""
    return float((rows[name] - rows.groupby(rows["timestamp"].dt.hour)[name].transform("mean")).std())


def drifted(verdict) -> set[str]:
    return {found.column for found in verdict.columns if found.drifted}


# The verdict


def test_the_same_world_does_not_drift():
    """Of twenty worlds that do not change, none is a verdict and no column is named."""
    verdicts = [judge(plant(14, seed=seed), plant(2, start_day=14, seed=seed), RULE) for seed in range(20)]

    assert not any(verdict.exceeds for verdict in verdicts)
    assert sum(len(drifted(verdict)) for verdict in verdicts) == 0
    assert {verdict.hours_compared for verdict in verdicts} == {24}
    assert {(verdict.rows_reference, verdict.rows_current) for verdict in verdicts} == {(1440, 288)}  # workdays


def test_one_channel_shifted_by_one_sigma_is_drift_and_is_named(reference, current):
    """A single channel is enough, the reasons name it, and it stands first."""
    current["flow"] += sigma(reference, "flow")

    verdict = judge(reference, current, RULE)

    assert verdict.exceeds
    assert drifted(verdict) == {"flow"}
    assert verdict.share == pytest.approx(1 / 6)
    assert verdict.columns[0].column == "flow"
    found = column(verdict, "flow")
    assert (found.kind, found.alone) == ("values", True)
    assert found.moved == pytest.approx(1, abs=0.4)
    assert verdict.reasons[0] == "1 of 6 channels drifted (17%)."
    assert verdict.reasons[1].startswith("flow: level moved by +")


def test_a_shift_that_is_sure_but_small_is_no_drift():
    """However many rows there are, a shift below the threshold is none: the world without memory proves any trifle."""
    rng = np.random.default_rng(1)
    rows = plant(21, minutes=2, cycle=0)
    rows[["score", *CHANNELS]] = rng.normal(size=(len(rows), 7)).astype(np.float32)
    then, now = rows.iloc[: 14 * 720], rows.iloc[14 * 720 :]
    little, enough = (judge(then, now.assign(flow=now["flow"] + np.float32(size)), RULE) for size in (0.4, 0.6))

    assert not drifted(little)
    assert column(little, "flow").limit == RULE.threshold
    assert drifted(enough) == {"flow"}


def test_many_channels_that_moved_a_little_are_a_verdict_together(reference, current):
    """Drifted, though none surely enough alone: two of six are, one is not, and the share decides."""
    rule = DriftRule(chance=1e-12)  # nothing is sure enough alone
    for name in ("flow", "power"):
        current[name] += np.float32(1.5 * sigma(reference, name))
    one, two = (
        judge(reference, current.assign(power=power), rule) for power in (reference["power"][:288], current["power"])
    )

    assert (drifted(one), one.exceeds) == ({"flow"}, False)
    assert (drifted(two), two.exceeds) == ({"flow", "power"}, True)
    assert "30% are enough" in two.reasons[0]
    assert not judge(reference, current, DriftRule(chance=1e-12, share=0.5)).exceeds


def test_a_watch_of_one_channel_is_judged_like_any_other(reference, current):
    """The share of a single channel is all or nothing: it must be sure by itself."""
    one = [side[["timestamp", "score", "flow"]] for side in (reference, current)]

    assert not judge(*one, RULE).exceeds
    assert judge(one[0], one[1].assign(flow=one[1]["flow"] + 2), RULE).exceeds


def test_five_hundred_channels_cry_wolf_no_oftener():
    """The chance of a false verdict is shared out among the columns, so that their number does not add up."""
    rng = np.random.default_rng(3)
    names = [f"c{i}" for i in range(500)]

    def rows(days, start_day):
        frame = plant(days, start_day=start_day)[["timestamp", "score"]]
        noise = pd.DataFrame(rng.normal(size=(len(frame), 500)).astype(np.float32), columns=names)
        return pd.concat([frame, noise], axis=1)

    then, now = rows(14, 0), rows(2, 14)
    verdict = judge(then, now, RULE)
    assert not verdict.exceeds
    assert len(drifted(verdict)) <= 1
    assert judge(then, now.assign(c7=now["c7"] + 1), RULE).exceeds


def test_a_night_is_compared_with_nights():
    """The night of a channel with a strong daily cycle is usual among nights, and would be drift among days."""
    reference, current = plant(14, cycle=3.0, minutes=2), plant(3, start_day=14, cycle=3.0, minutes=2)
    night = current[current["timestamp"].dt.hour.isin([4, 5, 6, 7, 8])]

    verdict = judge(reference, night, RULE)

    assert not verdict.exceeds
    assert verdict.hours_compared == 5
    found = column(verdict, "level")  # has the cycle
    assert abs(found.moved) < found.limit
    unmatched = (night["level"].mean() - reference["level"].mean()) / sigma(reference, "level")
    assert abs(unmatched) > 1.5 * found.limit  # without the matching this night would be drift


def test_weekends_are_compared_with_weekends():
    """A quiet weekend is usual to a reference that has weekends, and is drift to one that has none."""

    def week(days, start_day):
        frame = plant(days, start_day=start_day)
        frame.loc[frame["timestamp"].dt.dayofweek >= 5, CHANNELS] -= 3
        return frame

    reference = week(14, 0)
    verdict = judge(reference, week(2, 19), RULE)  # a Saturday and a Sunday

    assert verdict.weekends_apart
    assert not verdict.exceeds
    workdays_only = reference[reference["timestamp"].dt.dayofweek < 5]
    verdict = judge(workdays_only, week(2, 19), RULE)
    assert not verdict.weekends_apart  # no weekend to compare with: hours alone are matched
    assert verdict.exceeds


@pytest.mark.parametrize(("shift", "expected"), [(0.0, set()), (1.2, {"flow"})])
def test_the_verdict_does_not_depend_on_the_number_of_rows(shift, expected):
    """Minutes and quarters of an hour of the same days give one verdict, and about the same figures."""
    minutely, latest = plant(14, minutes=1), plant(4, start_day=14, minutes=1)
    latest["flow"] += np.float32(shift * sigma(minutely, "flow"))
    many, few = judge(minutely, latest, RULE), judge(minutely.iloc[::15], latest.iloc[::15], RULE)
    uneven = judge(minutely.iloc[::15], latest, RULE)  # a thinned reference, as a version keeps it

    assert drifted(many) == drifted(few) == drifted(uneven) == expected
    assert many.exceeds == few.exceeds == uneven.exceeds == bool(expected)
    for other in (few, uneven):
        assert column(other, "flow").moved == pytest.approx(column(many, "flow").moved, abs=0.15)
        assert column(other, "flow").spread == pytest.approx(column(many, "flow").spread, rel=0.15)


def test_the_order_of_rows_and_columns_does_not_matter(reference, current):
    """The verdict is a function of the rows alone."""
    shuffled = current.sample(frac=1, random_state=0)[list(reversed(current.columns))]

    assert judge(reference, shuffled, RULE) == judge(reference, current, RULE)


def test_the_score_alone_is_a_verdict_when_it_is_surer_than_a_channel_must_be(reference, current):
    """Between its limit and one and a half times what a channel needs, the score is named and starts nothing."""
    for size, expected in ((1.25, False), (3.0, True)):
        found = column(judge(reference, current, RULE), "score")
        shift = (size * found.limit - found.moved) * sigma(reference, "score")
        verdict = judge(reference, current.assign(score=current["score"] + np.float32(shift)), RULE)
        assert drifted(verdict) == {"score"}
        assert verdict.exceeds is expected
        assert verdict.share == 0
        assert any("champion's score" in reason for reason in verdict.reasons) is expected


def test_what_the_reference_does_itself_is_not_drift():
    """A level that wanders from day to day gets a wide limit; a decoy that counts rows calls every such day drift."""

    def wandering(days, start_day):
        frame = plant(days, start_day=start_day, minutes=5)
        level = np.random.default_rng(start_day).uniform(-1.5, 1.5, size=days)
        day = ((frame["timestamp"] - frame["timestamp"].iloc[0]) // pd.Timedelta(days=1)).to_numpy()
        return frame.assign(flow=frame["flow"] + level[day].astype(np.float32))

    reference = wandering(14, 0)
    checks = [wandering(1, day) for day in range(14, 22)]
    found = [column(judge(reference, check, RULE), "flow") for check in checks]

    assert not any(each.drifted for each in found)
    assert all(each.limit > 2 for each in found)
    decoy = [ttest_ind(reference["flow"], check["flow"], equal_var=False).pvalue < 1e-4 for check in checks]
    assert sum(decoy) >= 6


def test_an_incident_of_some_hours_is_not_a_changed_world(reference, current):
    """Five hours far off in two days are an alarm; a day and a half of it is drift."""
    short, long = current.copy(), current.copy()
    short.loc[short.index[60:90], "flow"] += 8
    long.loc[long.index[60:], "flow"] += 8

    assert not drifted(judge(reference, short, RULE))
    assert drifted(judge(reference, long, RULE)) == {"flow"}


def test_a_reference_of_two_days_has_wide_limits(current):
    """It has not seen a week, so that only what is plain is drift: the limits say so."""
    short, long = judge(plant(2), current, RULE), judge(plant(14), current, RULE)

    assert short.matched
    assert not short.exceeds
    assert column(short, "flow").limit > 3 * column(long, "flow").limit
    assert judge(plant(2), current.assign(flow=current["flow"] + 15), RULE).exceeds
    assert judge(plant(2), current.assign(flow=np.float32(np.nan)), RULE).exceeds


def test_a_reference_of_one_day_says_that_it_tells_no_hours_apart(current):
    """With each hour seen once there is nothing to calibrate by."""
    verdict = judge(plant(1, minutes=5), current, RULE)

    assert not verdict.matched
    assert not verdict.exceeds
    assert "shorter than two days" in verdict.reasons[-1]


@settings(deadline=None, max_examples=25)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_units_do_not_matter(offset, scale):
    """Any channel in any unit gives the same verdict."""
    reference, current = plant(7, minutes=30), plant(5, start_day=7, minutes=30)
    plain = judge(reference, current, RULE)
    double = [side.astype({"flow": np.float64}) for side in (reference, current)]
    other = judge(*(side.assign(flow=side["flow"] * scale + offset) for side in double), RULE)

    assert drifted(other) == drifted(plain)
    assert column(other, "flow").moved == pytest.approx(column(plain, "flow").moved, rel=1e-3, abs=1e-3)


# Sensors


def test_a_channel_that_dropped_out_has_drifted(reference, current):
    current["flow"] = np.float32(np.nan)
    current.loc[current.index[::2], "level"] = np.nan
    current.loc[current.index[::10], "power"] = np.nan  # 10 % more than before: not enough

    verdict = judge(reference, current, RULE)

    assert drifted(verdict) == {"flow", "level"}
    assert column(verdict, "flow").kind == column(verdict, "level").kind == "missing"
    assert column(verdict, "flow").current_mean is None
    assert column(verdict, "flow").missing_current == 1
    assert column(verdict, "level").missing_current == pytest.approx(0.5, abs=0.05)
    assert "no values at all" in column(verdict, "flow").reason


def test_infinite_values_count_as_missing(reference, current):
    current["flow"] = np.float32(np.inf)

    assert column(judge(reference, current, RULE), "flow").missing_current == 1


def test_a_stuck_channel_has_drifted(reference, current):
    current["flow"] = np.float32(reference["flow"].mean())  # stuck where a mean would see nothing

    verdict = judge(reference, current, RULE)

    assert drifted(verdict) == {"flow"}
    assert column(verdict, "flow").kind == "stuck"


def test_a_channel_that_is_often_constant_is_not_stuck(reference, current):
    """An error counter that moves on one day of the reference in four and stays at zero today."""
    day = reference["timestamp"].dt.day
    busy = reference.assign(flow=np.where(day % 4 == 0, np.abs(reference["flow"]), 0).astype(np.float32))

    assert column(judge(busy, current.assign(flow=np.float32(0)), RULE), "flow").kind == "none"


def test_a_constant_channel_does_not_drift(reference, current):
    verdict = judge(reference.assign(flow=np.float32(0.1)), current.assign(flow=np.float32(0.1)), RULE)

    found = column(verdict, "flow")
    assert not found.drifted
    assert (found.moved, found.spread) == (0, 1)
    assert found.reason == "constant on both sides"


@pytest.mark.parametrize("constant_now", [True, False])
def test_a_constant_channel_that_changes_has_drifted(reference, current, constant_now):
    now = np.float32(5) if constant_now else current["flow"]

    verdict = judge(reference.assign(flow=np.float32(0.1)), current.assign(flow=now), RULE)

    assert column(verdict, "flow").kind == "unstuck"
    assert "constant at 0.1 in the reference" in column(verdict, "flow").reason


def test_a_constant_channel_with_a_rare_event_has_not_drifted(reference, current):
    now = current.assign(flow=np.float32(4))
    now.loc[now.index[::50], "flow"] = np.float32(9)  # 2 % of the rows

    assert not column(judge(reference.assign(flow=np.float32(4)), now, RULE), "flow").drifted


def test_a_channel_without_values_on_both_sides_is_not_compared(reference, current):
    nothing = np.float32(np.nan)

    verdict = judge(reference.assign(flow=nothing), current.assign(flow=nothing), RULE)

    assert column(verdict, "flow").reason == "too few values to compare"
    assert drifted(verdict) == set()


def test_a_doubled_deviation_has_drifted_though_the_mean_stands(reference, current):
    current["flow"] = current["flow"].mean() + 2 * (current["flow"] - current["flow"].mean())

    verdict = judge(reference, current, DriftRule(threshold=5))

    assert drifted(verdict) == {"flow"}
    assert column(verdict, "flow").kind == "spread"
    assert column(verdict, "flow").spread == pytest.approx(2, rel=0.2)
    assert column(verdict, "flow").spread > column(verdict, "flow").spread_limit


# What is refused


def test_columns_that_differ_are_named(reference, current):
    with pytest.raises(DataError, match=r"only in the reference \['flow'\], only in current \['flux'\]"):
        judge(reference, current.rename(columns={"flow": "flux"}), RULE)


@pytest.mark.parametrize("rows", [100, 199])
def test_too_few_rows_are_refused_with_advice(reference, current, rows):
    with pytest.raises(DataError, match="wanted 200; check a longer period"):
        judge(reference, current.iloc[:rows], RULE)


def test_hours_that_never_meet_are_refused(reference, current):
    day, night = reference["timestamp"].dt.hour >= 12, current["timestamp"].dt.hour < 12
    with pytest.raises(DataError, match="0 rows lie in hours"):
        judge(reference[day], current[night], RULE)


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
        judge(change(reference), change(current), RULE)


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


# Hours and limits


def test_hours_against_a_slow_loop():
    """Means, deviations and gaps of each hour, computed row by row."""
    rows = plant(3, minutes=10)
    rows.loc[rows.index[100:120:2], "flow"] = np.nan
    hour = rows["timestamp"].dt.hour.to_numpy()

    here, _ = cut(rows, rows, ["flow", "level"], [hour, hour])

    assert here.slot.tolist() == [*range(24)] * 3
    for stretch in range(72):
        part = rows["flow"].astype(np.float64)[stretch * 6 : stretch * 6 + 6]
        assert here.level[stretch, 0] + here.centre[0] == pytest.approx(part.mean())
        assert here.spread[stretch, 0] == pytest.approx(part.std())
        assert here.missing[stretch, 0] == pytest.approx(part.isna().mean())


def test_an_hour_with_too_few_rows_is_left_out():
    """The half hours at the ends of a window, and one with a gap, say less than the others."""
    rows = plant(2, minutes=5).iloc[9:]  # the first hour has three rows
    rows = rows.drop(rows.index[27:36])
    hour = rows["timestamp"].dt.hour.to_numpy()

    here, _ = cut(rows, rows, ["flow"], [hour, hour])

    assert here.slot[:4].tolist() == [-1, 1, 2, -1]
    assert np.isnan(here.level[3, 0])


def test_stays_of_hand_made_values():
    """Two hours at 1, one at 2, one at 1 again; gaps are passed over."""
    times = pd.date_range(MONDAY, periods=9, freq="30min", unit="us")
    rows = pd.DataFrame({"timestamp": times, "flow": [1, 1, np.nan, 1, 1, 2, 2, 1, 1]})

    found = holds(rows, ["flow"])

    assert found.longest[0] == 2
    assert found.usual[0] == pytest.approx((2 * 2 + 1 * 1 + 1 * 1) / 4)
    assert (found.varies[0], found.period) == (True, 4.5)


@pytest.mark.parametrize("memory_h", [0.5, 3.0])
def test_the_error_is_that_of_many_repeated_worlds(memory_h):
    """The standard error of a mean of two days, against the spread that such means have over many worlds.

    The oracle draws the worlds; a decoy that takes hours for independent is off by a factor of two or more at 3 h.
    """
    rng = np.random.default_rng(5)
    keep = np.exp(-1 / memory_h)
    noise = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.normal(size=(500 + 16 * 24, 300)), axis=0)[500:]
    slot = np.arange(16 * 24) % 24
    then, now = noise[: 14 * 24], noise[14 * 24 :]

    found = moved(less_course(then, now, slot[: 14 * 24], slot[14 * 24 :]), slot[: 14 * 24], slot[14 * 24 :])

    assert np.median(found.error) == pytest.approx(np.std(found.difference), rel=0.25)
    assert np.median(found.error) >= 0.95 * np.std(found.difference)
    assert np.mean(np.abs(found.difference) > found.limit(0.05)) <= 0.06
    independent = np.std(noise) * np.sqrt(1 / 48 + 1 / 336)
    assert memory_h < 1 or independent < 0.6 * np.std(found.difference)


# Records and the page


def test_the_verdict_is_plain_json(reference, current):
    verdict = judge(reference, current.assign(flow=np.float32(np.nan)), RULE)

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

    assert verdict == judge(reference, current, RULE)
    assert drifted(verdict) == {hostile, "power", "pressure", "speed"}
    seen = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # what a browser reads as page
    assert "<title>Drift</title>" in seen
    assert seen.index(">Drift</h1>") < seen.index("4 of 6 channels drifted (67%)") < seen.index("root_watchkeeper_0")
    assert "stuck for 48 h" in seen
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
            shown = max(found.spread, 1 / found.spread) if found.kind == "spread" else abs(found.moved)
            assert f"Drift score: {round(shown, 3)}" in text
    assert text.count("Data drift detected") == sum(found.kind in ("values", "spread") for found in verdict.columns)
    assert compare(reference, current, RULE, 1)[1] == text


def test_the_page_without_anything_to_draw_is_still_a_page(reference):
    constant = ColumnDrift("flow", "stuck", 0.0, 0.5, 1.0, 1.25, True, True, 1.0, 2.0, 0.0, 0.0, "stuck at <2>")
    period = ("2026-03-02T00:00:00+00:00", "2026-03-03T00:00:00+00:00")
    verdict = DriftVerdict(
        True, 1.0, (constant,), ("1 of 1 channels drifted.",), 288, 288, 24, True, True, period, period
    )

    text = page(verdict, reference, reference)

    assert "stuck at &lt;2&gt;" in text
    assert "<script" not in text
