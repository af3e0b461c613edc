import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from models.metrics import (
    VUS_THRESHOLDS,
    affiliation_f1,
    alarm_events,
    alarms_per_day,
    auc_pr,
    auc_roc,
    best_f1,
    detection_delay,
    event_recall,
    events,
    point_adjusted_f1,
    point_metrics,
    vus_pr,
    vus_roc,
)
from watchkeeper.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED: dict[str, dict[str, dict[str, float]]] = json.loads((GOLDEN / "metrics_expected.json").read_text("utf-8"))
COLUMNS = sorted(EXPECTED)
OVERLAP: list[dict[str, Any]] = json.loads((GOLDEN / "metrics_overlap.json").read_text("utf-8"))

Label = npt.NDArray[np.int8]
Score = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def golden() -> pd.DataFrame:
    return pd.read_parquet(GOLDEN / "metrics_input.parquet")


def bits(text: str) -> Mask:
    return np.array([sign == "#" for sign in text], dtype=np.bool_)


def labels(text: str) -> Label:
    return bits(text).astype(np.int8)


# Obvious loops: the definitions, one sample, event and threshold at a time.


def slow_events(mask: Mask) -> list[tuple[int, int]]:
    found, start = [], None
    for at, value in enumerate([*mask.tolist(), False]):
        if value and start is None:
            start = at
        if not value and start is not None:
            found.append((start, at))
            start = None
    return found


def slow_vus(label: Label, score: Score, window: int, wrong: str = "") -> tuple[float, float]:
    """VUS-PR and VUS-ROC. `wrong` names one mistake to make, for the decoys."""
    n, spans = len(label), slow_events(label == 1)
    falling = sorted(score.tolist(), reverse=True)
    thresholds = [falling[int(at)] for at in np.linspace(0, n - 1, VUS_THRESHOLDS)]
    pr, roc = [], []
    for w in range(window + 1):
        reach = w // 2
        weight = [float(value) for value in label]
        joined: list[list[int]] = []
        for start, end in spans:
            for at in range(n):
                away = start - at if at < start else at - (end - 1)
                if 0 < away <= reach:
                    weight[at] += math.sqrt(1 - away / w)
            first, last = max(start - reach, 0), min(end - 1 + reach, n - 1)
            if joined and first <= joined[-1][1] and wrong != "never join":
                joined[-1][1] = last
            else:
                joined.append([first, last])
        if wrong != "no clip":
            weight = [min(value, 1.0) for value in weight]

        curve, seen = [(0.0, 0.0, 1.0)], None
        for threshold in thresholds:
            if threshold == seen:  # it adds no area
                continue
            seen = threshold
            alarm = [value >= threshold for value in score.tolist()]
            hits = sum(weight[at] for at in range(n) if alarm[at])
            buffered = sum(weight[at] for at in range(n) if alarm[at] and label[at] == 0)
            anomalous = sum(label.tolist()) + (0 if wrong == "plain positives" else buffered / 2)
            found = sum(any(alarm[first : last + 1]) for first, last in joined) / len(joined)
            recall = min(hits / anomalous, 1) * (1 if wrong == "no existence" else found)
            fallout = (sum(alarm) - hits) / (n - anomalous) if n > anomalous else math.nan
            curve.append((recall, fallout, hits / sum(alarm)))
        steps = list(itertools.pairwise(curve))
        pr.append(sum((after[0] - before[0]) * after[2] for before, after in steps))
        ends = [*steps, (curve[-1], (1.0, 1.0, 0.0))]
        roc.append(sum((after[1] - before[1]) * (after[0] + before[0]) / 2 for before, after in ends))
    return sum(pr) / len(pr), sum(roc) / len(roc)


def slow_affiliation(label: Label, alarm: Mask, cells: int = 8) -> float:
    """Chances by counting grid cells of the zone, instead of formulas for their length."""
    spans, n = slow_events(label == 1), len(label)
    middle = [(at + 0.5) / cells for at in range(n * cells)]
    precisions, recalls = [], []
    for k, (start, end) in enumerate(spans):
        low = (spans[k - 1][1] + start) / 2 if k else 0
        high = (end + spans[k + 1][0]) / 2 if k + 1 < len(spans) else n
        zone = [at for at in middle if low <= at < high]
        alarmed = [at for at in zone if alarm[int(at)]]
        to_event = {at: max(start - at, at - end, 0.0) for at in zone}
        if alarmed:
            chances = [share(to_event[at], list(to_event.values())) for at in alarmed]
            precisions.append(sum(chances) / len(chances))
        inside = [at for at in zone if start <= at < end]
        edge = 0.5 / cells  # the nearest alarmed instant lies on the near side of its cell
        chances = []
        for at in inside:
            nearest = min((max(abs(at - other) - edge, 0.0) for other in alarmed), default=math.inf)
            nearest = 0.0 if alarm[int(at)] else nearest
            chances.append(share(nearest, [abs(at - other) for other in zone]))
        recalls.append(sum(chances) / len(chances))
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 2 * precision * recall / (precision + recall)


def share(distance: float, others: list[float]) -> float:
    """Share of the others that are farther, a tie counting one half; all of them when the distance is 0."""
    if distance == 0:
        return 1.0
    tied = sum(abs(other - distance) < 1e-9 for other in others)
    return (sum(other > distance + 1e-9 for other in others) + tied / 2) / len(others)


few_values = st.sampled_from([-2.0, 0.0, 0.25, 0.5, 3.0])
any_values = st.floats(-10, 10, allow_subnormal=False)


@st.composite
def scored(draw: st.DrawFn, least: int = 1, most: int = 40) -> tuple[Label, Score]:
    """A label with an event, and a score with many ties or none."""
    n = draw(st.integers(least, most))
    label = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=np.int8)
    label[draw(st.integers(0, n - 1))] = 1
    values = draw(st.sampled_from([few_values, any_values]))
    return label, np.array(draw(st.lists(values, min_size=n, max_size=n)))


class TestGolden:
    @pytest.mark.parametrize("column", COLUMNS)
    def test_areas_and_volumes_are_those_of_tsb_ad(self, golden: pd.DataFrame, column: str) -> None:
        label, score = golden["label"].to_numpy(), golden[column].to_numpy()
        found = {
            "AUC-PR": auc_pr(label, score),
            "AUC-ROC": auc_roc(label, score),
            "VUS-PR": vus_pr(label, score),
            "VUS-ROC": vus_roc(label, score),
        }
        assert found == pytest.approx(EXPECTED[column]["threshold_free"], abs=1e-9)

    @pytest.mark.parametrize("column", COLUMNS)
    def test_figures_at_a_fixed_threshold_are_those_of_tsb_ad(self, golden: pd.DataFrame, column: str) -> None:
        expected = EXPECTED[column]["at_quantile_0.9"]
        label, alarm = golden["label"].to_numpy(), golden[column].to_numpy() >= expected["threshold"]
        assert point_metrics(label, alarm).f1 == pytest.approx(expected["Standard-F1"], abs=1e-9)
        assert point_adjusted_f1(label, alarm) == pytest.approx(expected["PA-F1"], abs=1e-9)
        assert affiliation_f1(label, alarm) == pytest.approx(expected["Affiliation-F"], abs=1e-9)

    @pytest.mark.parametrize("column", COLUMNS)
    def test_best_f1_is_that_of_tsb_ad_but_for_its_epsilon(self, golden: pd.DataFrame, column: str) -> None:
        label, score = golden["label"].to_numpy(), golden[column].to_numpy()
        f1, threshold = best_f1(label, score)
        point = point_metrics(label, score >= threshold)
        assert point.f1 == pytest.approx(f1, abs=1e-12)
        total = point.precision + point.recall
        assert f1 * total / (total + 1e-5) == pytest.approx(
            EXPECTED[column]["oracle_threshold"]["Standard-F1"], abs=1e-9
        )

    @pytest.mark.parametrize("case", OVERLAP, ids=lambda case: case["name"])
    def test_overlapping_buffers_and_borders_are_those_of_tsb_ad(self, case: dict[str, Any]) -> None:
        label, score = labels(case["label"]), np.array(case["score"])
        found = {
            "VUS-PR": vus_pr(label, score, case["window"]),
            "VUS-ROC": vus_roc(label, score, case["window"]),
            "Affiliation-F": affiliation_f1(label, score >= case["threshold"]),
        }
        assert found == pytest.approx(case["expected"], abs=1e-9)

    def test_the_golden_input_tells_windows_apart(self, golden: pd.DataFrame) -> None:
        label, score = golden["label"].to_numpy(), golden["noisy"].to_numpy()
        expected = EXPECTED["noisy"]["threshold_free"]["VUS-PR"]
        assert abs(vus_pr(label, score, window=200) - expected) > 1e-3
        assert abs(vus_pr(label, score, window=99) - expected) > 1e-5


class TestVolume:
    @given(scored(), st.integers(0, 14))
    def test_equals_the_loop(self, pair: tuple[Label, Score], window: int) -> None:
        pr, roc = slow_vus(*pair, window)
        assert vus_pr(*pair, window) == pytest.approx(pr, abs=1e-9)
        if not pair[0].all():
            assert vus_roc(*pair, window) == pytest.approx(roc, abs=1e-9)

    @pytest.mark.parametrize("decimals", [0, 1, 8])
    def test_equals_the_loop_with_many_events_that_overlap_and_touch_the_borders(self, decimals: int) -> None:
        rng = np.random.default_rng(decimals)
        label = np.zeros(700, dtype=np.int8)
        for start in [0, 8, 9, 30, 55, *rng.integers(60, 690, 12), 699]:
            label[start : start + rng.integers(1, 12)] = 1
        score = np.round(rng.normal(size=700) + label, decimals)
        pr, roc = slow_vus(label, score, window=30)
        assert vus_pr(label, score, 30) == pytest.approx(pr, abs=1e-9)
        assert vus_roc(label, score, 30) == pytest.approx(roc, abs=1e-9)

    @pytest.mark.parametrize("wrong", ["no clip", "never join", "plain positives", "no existence"])
    def test_a_wrong_volume_is_told_apart(self, wrong: str) -> None:
        rng = np.random.default_rng(5)
        label = labels(2 * "...##.....#..##............#....######......")
        score = np.round(rng.normal(size=len(label)) + label, 1)
        right, mistaken = slow_vus(label, score, 12), slow_vus(label, score, 12, wrong)
        assert vus_pr(label, score, 12) == pytest.approx(right[0], abs=1e-9)
        assert abs(right[0] - mistaken[0]) > 1e-3

    @given(scored(), st.integers(0, 20))
    def test_stays_in_0_to_1_and_depends_on_the_order_of_scores_only(
        self, pair: tuple[Label, Score], window: int
    ) -> None:
        label, score = pair
        figure = vus_pr(label, score, window)
        assert 0 <= figure <= 1 + 1e-12
        ranks = np.unique(score, return_inverse=True)[1].astype(np.float64)
        assert vus_pr(label, 100 * ranks, window) == figure

    def test_a_constant_score_is_worth_the_share_of_anomalous_samples(self) -> None:
        label = labels("..####....")
        assert vus_pr(label, np.zeros(10), window=0) == pytest.approx(0.4)
        assert auc_pr(label, np.zeros(10)) == pytest.approx(0.4)
        assert vus_roc(label, np.zeros(10), window=0) == pytest.approx(0.5)

    def test_a_near_miss_counts_within_the_buffer_only(self) -> None:
        label = labels("." * 20 + "#" + "." * 40)
        near, far = np.zeros(61), np.zeros(61)
        near[23] = far[50] = 1.0
        assert vus_pr(label, near, 10) > 3 * vus_pr(label, far, 10)
        assert auc_pr(label, near) == auc_pr(label, far)

    def test_a_negative_window_is_refused(self) -> None:
        with pytest.raises(DataError, match="at least 0 samples, found -1"):
            vus_pr(labels("#."), np.zeros(2), -1)


class TestAreas:
    @given(scored())
    def test_equal_scikit_learn(self, pair: tuple[Label, Score]) -> None:
        label, score = pair
        assert auc_pr(label, score) == pytest.approx(average_precision_score(label, score), abs=1e-12)
        if not label.all():
            assert auc_roc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)

    def test_ties_have_no_order(self) -> None:
        score = np.array([1.0, 1.0, 1.0, 0.0])
        assert auc_pr(labels("#..."), score) == auc_pr(labels("..#."), score) == pytest.approx(1 / 3)
        assert auc_roc(labels("#..."), score) == auc_roc(labels("..#."), score) == pytest.approx(2 / 3)

    def test_a_score_upside_down_is_told_apart(self) -> None:
        score = np.array([3.0, 2.0, 1.0, 0.0])
        assert auc_roc(labels("##.."), score) == 1
        assert auc_roc(labels("##.."), -score) == 0
        assert auc_pr(labels("##.."), score) > auc_pr(labels("##.."), -score)

    def test_a_float32_score_gives_the_same_figures(self) -> None:
        score = np.random.default_rng(1).random(50).astype(np.float32)
        label = labels("....." * 5 + "####" + "." * 21)
        for metric in (auc_pr, auc_roc, vus_pr, vus_roc):
            assert metric(label, score) == metric(label, score.astype(np.float64))


class TestBestF1:
    @given(scored())
    def test_no_threshold_is_better_and_its_own_gives_it(self, pair: tuple[Label, Score]) -> None:
        label, score = pair
        f1, threshold = best_f1(label, score)
        slow = {value: point_metrics(label, score >= value).f1 for value in set(score.tolist())}
        assert f1 == pytest.approx(max(slow.values()), abs=1e-12)
        assert slow[threshold] == pytest.approx(f1, abs=1e-12)

    def test_of_equal_thresholds_the_highest_is_taken(self) -> None:
        # Hits and alarms: 1 of 1 at 4, then 2 of 4 at 1. F1 is 2/3 at both.
        f1, threshold = best_f1(labels("#..#"), np.array([4.0, 3.0, 2.0, 1.0]))
        assert f1 == pytest.approx(2 / 3)
        assert threshold == 4


class TestEvents:
    @given(st.lists(st.booleans(), max_size=30))
    def test_equal_the_loop(self, mask: list[bool]) -> None:
        array = np.array(mask, dtype=np.bool_)
        found = events(array)
        assert found.dtype == np.int64
        assert found.shape == (len(found), 2)
        assert [tuple(span) for span in found.tolist()] == slow_events(array)

    @pytest.mark.parametrize(
        ("merge", "expected"),
        [
            (0, [[0, 1], [2, 4], [6, 7], [10, 12]]),
            (1, [[0, 1], [2, 4], [6, 7], [10, 12]]),
            (2, [[0, 4], [6, 7], [10, 12]]),
            (3, [[0, 7], [10, 12]]),
            (4, [[0, 12]]),
        ],
    )
    def test_alarms_with_a_shorter_gap_are_joined(self, merge: int, expected: list[list[int]]) -> None:
        assert alarm_events(bits("#.##..#...##"), merge).tolist() == expected

    def test_no_alarm_makes_no_event(self) -> None:
        assert alarm_events(bits("...."), 3).shape == (0, 2)
        assert alarm_events(bits(""), 3).shape == (0, 2)

    @given(st.lists(st.booleans(), max_size=30), st.integers(0, 8))
    def test_joining_fills_exactly_the_short_gaps(self, mask: list[bool], merge: int) -> None:
        alarm = np.array(mask, dtype=np.bool_)
        filled = alarm.copy()
        for start, end in slow_events(~alarm):
            filled[start:end] = end - start < merge and start > 0 and end < len(alarm)
        assert alarm_events(alarm, merge).tolist() == [list(span) for span in slow_events(filled)]

    def test_alarms_per_day_counts_joined_alarms(self) -> None:
        alarm = np.zeros(2 * 1440, dtype=np.bool_)  # two days of minutes
        alarm[[10, 13, 500, 2000]] = True
        assert alarms_per_day(alarm, interval_s=60, merge=0) == pytest.approx(2.0)
        assert alarms_per_day(alarm, interval_s=60, merge=5) == pytest.approx(1.5)
        assert alarms_per_day(alarm, interval_s=30, merge=5) == pytest.approx(3.0)
        assert math.isnan(alarms_per_day(bits(""), interval_s=60, merge=0))


class TestAlarms:
    label = labels("..####....###.#")
    alarm = bits("#...#.##...##..")

    def test_point_metrics_by_hand(self) -> None:
        point = point_metrics(self.label, self.alarm)
        assert point.precision == pytest.approx(3 / 6)
        assert point.recall == pytest.approx(3 / 8)
        assert point.f1 == pytest.approx(6 / 14)

    @given(scored())
    def test_point_metrics_equal_scikit_learn(self, pair: tuple[Label, Score]) -> None:
        label, score = pair
        alarm = score >= np.median(score)
        precision, recall, f1, _ = precision_recall_fscore_support(label, alarm, average="binary", zero_division=0)
        point = point_metrics(label, alarm)
        assert (point.precision, point.recall, point.f1) == pytest.approx((precision, recall, f1))

    def test_point_adjustment_by_hand(self) -> None:
        # Events [2, 6) and [10, 13) are found whole: 7 of 8 samples; 3 false alarms.
        assert point_adjusted_f1(self.label, self.alarm) == pytest.approx(2 * 7 / (10 + 8))

    def test_point_adjustment_reaches_sample_0(self) -> None:
        assert point_adjusted_f1(labels("###."), bits("..#.")) == 1

    def test_event_recall_and_delay_by_hand(self) -> None:
        assert event_recall(self.label, self.alarm) == pytest.approx(2 / 3)
        assert detection_delay(self.label, self.alarm) == pytest.approx((2 + 1) / 2)

    def test_an_alarm_just_outside_finds_nothing(self) -> None:
        label, outside = labels("..##.."), bits(".#..#.")
        assert event_recall(label, outside) == 0
        assert math.isnan(detection_delay(label, outside))

    @given(scored(), st.integers(0, 8))
    def test_event_figures_equal_the_loop(self, pair: tuple[Label, Score], cut: int) -> None:
        label, score = pair
        alarm = score >= np.sort(score)[min(cut, len(score) - 1)]
        spans = slow_events(label == 1)
        delays = [int(np.argmax(alarm[start:end])) for start, end in spans if alarm[start:end].any()]
        assert event_recall(label, alarm) == pytest.approx(len(delays) / len(spans))
        if delays:
            assert detection_delay(label, alarm) == pytest.approx(sum(delays) / len(delays))


class TestAffiliation:
    @given(scored(most=24), st.integers(0, 23))
    def test_equals_counting_cells(self, pair: tuple[Label, Score], cut: int) -> None:
        label, score = pair
        alarm = score >= np.sort(score)[min(cut, len(score) - 1)]
        assert affiliation_f1(label, alarm) == pytest.approx(slow_affiliation(label, alarm), abs=0.02)

    def test_a_perfect_alarm_is_worth_1_and_no_alarm_0(self) -> None:
        label = labels("..###....##.")
        assert affiliation_f1(label, label == 1) == pytest.approx(1)
        assert affiliation_f1(label, np.zeros(12, dtype=np.bool_)) == 0

    def test_by_hand(self) -> None:
        # Zone [0, 10), event [4, 6), alarm [7, 8). Precision: mean of 1 - (2 + 2 d) / 10 for d in 1 to 2, so 0.5.
        # Recall: mean over y in 4 to 6 of 1 - ((7 - y) + min(7 - y, 10 - y)) / 10 = 1 - 2 * 2 / 10 = 0.6.
        assert affiliation_f1(labels("....##...."), bits(".......#..")) == pytest.approx(2 * 0.5 * 0.6 / 1.1)

    def test_an_alarm_in_the_next_zone_finds_nothing_here(self) -> None:
        # Zones end halfway between the two events: precision 1 in the one with the alarm, recall 1 there and 0 here.
        label, alarm = labels("........#.#"), bits("..........#")
        assert affiliation_f1(label, alarm) == pytest.approx(2 * 1 * 0.5 / 1.5)
        assert affiliation_f1(label[::-1], alarm[::-1]) == pytest.approx(2 * 1 * 0.5 / 1.5)


class TestEdges:
    no_event: Any = labels("....")
    score = np.array([0.1, 0.4, 0.2, 0.3])

    @pytest.mark.parametrize("metric", [auc_pr, auc_roc, vus_pr, vus_roc])
    def test_without_an_anomalous_sample_an_area_is_not_defined(self, metric: Any) -> None:
        assert math.isnan(metric(self.no_event, self.score))
        assert math.isnan(metric(self.no_event[:0], self.score[:0]))

    def test_without_an_anomalous_sample_no_figure_of_events_is_defined(self) -> None:
        alarm = self.score > 0.25
        point = point_metrics(self.no_event, alarm)
        assert (point.precision, math.isnan(point.recall), math.isnan(point.f1)) == (0, True, True)
        for metric in (point_adjusted_f1, affiliation_f1, event_recall, detection_delay):
            assert math.isnan(metric(self.no_event, alarm))
        assert all(math.isnan(value) for value in best_f1(self.no_event, self.score))

    def test_without_an_alarm_precision_is_not_defined(self) -> None:
        point = point_metrics(labels("..##"), bits("...."))
        assert (math.isnan(point.precision), point.recall, point.f1) == (True, 0, 0)

    def test_without_a_normal_sample_the_roc_is_not_defined(self) -> None:
        everywhere = labels("####")
        assert math.isnan(auc_roc(everywhere, self.score))
        assert math.isnan(vus_roc(everywhere, self.score))
        assert auc_pr(everywhere, self.score) == vus_pr(everywhere, self.score) == 1

    @pytest.mark.parametrize("metric", [auc_pr, auc_roc, vus_pr, vus_roc, best_f1])
    @pytest.mark.parametrize(
        ("label", "score", "message"),
        [
            (labels("#.."), np.zeros(4), r"of one length, found \(3,\) and \(4,\)"),
            (np.zeros((2, 2), dtype=np.int8), np.zeros((2, 2)), "of one length"),
            (np.array([1, 0, -1], dtype=np.int8), np.zeros(3), r"0 or 1, found \[-1, 0, 1\]: drop what"),
            (labels("#.."), np.array([0, np.nan, np.inf]), "must be finite, found 2"),
        ],
    )
    def test_bad_scores_are_refused(self, metric: Any, label: Label, score: Score, message: str) -> None:
        with pytest.raises(DataError, match=message):
            metric(label, score)

    @pytest.mark.parametrize(
        "metric", [point_metrics, point_adjusted_f1, event_recall, detection_delay, affiliation_f1]
    )
    @pytest.mark.parametrize(
        ("label", "alarm", "message"),
        [
            (labels("#.."), bits("#..."), "of one length"),
            (np.array([1, 0, -1], dtype=np.int8), bits("#.."), "0 or 1"),
            (labels("#.."), np.array([0.9, 0.1, 0.2]), "boolean .* found float64"),
        ],
    )
    def test_bad_alarms_are_refused(self, metric: Any, label: Label, alarm: Mask, message: str) -> None:
        with pytest.raises(DataError, match=message):
            metric(label, alarm)

    def test_bad_units_are_refused(self) -> None:
        with pytest.raises(DataError, match="above 0 s, found 0"):
            alarms_per_day(bits("#."), interval_s=0, merge=0)
        with pytest.raises(DataError, match="at least 0 samples, found -2"):
            alarm_events(bits("#."), merge=-2)

    @pytest.mark.parametrize("metric", [auc_pr, auc_roc, vus_pr, vus_roc, best_f1])
    def test_input_is_not_changed(self, metric: Any) -> None:
        label, score = labels(".##."), self.score.copy()
        label.flags.writeable = score.flags.writeable = False
        metric(label, score)
        assert score.tolist() == self.score.tolist()
