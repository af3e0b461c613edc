import json
import tracemalloc
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.calibration import BOUND
from models.detector import AGENT, Detector, DetectorConfig, build_detector
from models.member import Member, State
from models.parts import CalibrationPart, HeldOutPart, TrainPart
from models.scaler import Scaler
from models.windows import Array
from watchkeeper.errors import BadInputError, DataError, LeakageError, VersionRefusedError
from watchkeeper.progress import Progress

MINUTE_US = 60_000_000
CONFIG = DetectorConfig(window=10, members=("norm", "pca", "ridge"), alarm_budget_per_day=2.0, interval_s=60.0)


def raw_rows(rows: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(rows)[:, None] / 9 + np.arange(3))
    return np.asarray(50 + 4 * waves + rng.normal(size=(rows, 3)), np.float32)


def clock(rows: int, start: int = 0) -> npt.NDArray[np.int64]:
    return (start + np.arange(rows, dtype=np.int64)) * MINUTE_US


def parts(scaler: Scaler, raw: Mapping[str, Array], kind: type[Any], start: int, stop: int) -> dict[str, Any]:
    unknown = np.full(stop - start, -1, np.int8)
    return {
        series: kind(scaler.transform(series, values[start:stop]), clock(stop - start, start), unknown)
        for series, values in raw.items()
    }


RAW = {"a": raw_rows(3000, 1), "b": raw_rows(3000, 2)}
SCALER = Scaler.fit({series: values[:1500] for series, values in RAW.items()})
TRAIN = parts(SCALER, RAW, TrainPart, 0, 1500)
CALIBRATION = parts(SCALER, RAW, CalibrationPart, 1510, 2400)


class FakeAgent(Member):
    """Reads the first score column of the observation, and remembers how many rows it has seen."""

    name: ClassVar[str] = AGENT

    def fit(self, parts: Mapping[str, Array], seed: int, progress: Progress | None = None) -> None:
        raise NotImplementedError

    def score(
        self,
        series: str,  # noqa: ARG002 - it treats all alike
        values: Array,
        state: State | None = None,
    ) -> tuple[npt.NDArray[np.float64], State]:
        seen = 0 if state is None else int(state["seen"][0])
        rows = np.arange(seen, seen + len(values))
        return values[:, 3].astype(np.float64) - 7 + 1e-6 * rows, {"seen": np.array([seen + len(values)])}

    def config(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:  # noqa: ARG003 - learnt nothing
        return cls()


@pytest.fixture(scope="module", params=["base", "with agent"])
def detector(request: pytest.FixtureRequest) -> Detector:
    base = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    return base if request.param == "base" else base.with_agent(FakeAgent(), CALIBRATION, positives=20)


def fresh(rows: int = 600, seed: int = 9) -> Array:
    values = raw_rows(rows, seed)
    values[7, 1] = np.nan
    return values


def test_an_anomaly_raises_an_alarm_and_names_its_channel(detector: Detector) -> None:
    values = fresh()
    values[400:415, 2] += 40
    scored, _ = detector.score("a", values, clock(600))
    assert scored.alarm[400:415].any()
    assert scored.score[:400].max() < scored.score[400:415].max()
    assert scored.contributions[402].argmax() == 2
    assert np.array_equal(scored.alarm, scored.score >= scored.threshold)


def test_shapes_and_types(detector: Detector) -> None:
    scored, _ = detector.score("b", fresh(50), clock(50))
    assert scored.score.shape == scored.threshold.shape == scored.alarm.shape == (50,)
    assert scored.score.dtype == scored.threshold.dtype == np.float64
    assert scored.contributions.shape == (50, 3)
    assert scored.contributions.dtype == np.float32
    assert list(scored.members)[:3] == ["norm", "pca", "ridge"]
    assert np.isfinite(scored.score).all()


def test_missing_readings_are_filled_and_the_input_left_as_it_was(detector: Detector) -> None:
    values = fresh(60)
    values[20:40] = np.nan
    before = values.copy()
    values.flags.writeable = False
    scored, _ = detector.score("a", values, clock(60))
    assert np.isfinite(scored.score).all()
    assert np.array_equal(values, before, equal_nan=True)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 599), unique=True, max_size=6).map(sorted))
def test_chunks_with_carried_state_score_as_the_whole(detector: Detector, cuts: list[int]) -> None:
    values, times = fresh(), clock(600)
    whole, _ = detector.score("a", values, times)
    state: State | None = None
    scores, thresholds = [], []
    for start, stop in zip([0, *cuts], [*cuts, 600], strict=True):
        scored, state = detector.score("a", values[start:stop], times[start:stop], state)
        scores.append(scored.score)
        thresholds.append(scored.threshold)
    np.testing.assert_allclose(np.concatenate(scores), whole.score, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.concatenate(thresholds), whole.threshold, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(1, 599), jump=st.floats(-1e4, 1e4, width=32))
def test_a_change_in_the_future_never_changes_the_past(detector: Detector, at: int, jump: float) -> None:
    values, times = fresh(), clock(600)
    changed = values.copy()
    changed[at:] += np.float32(jump)
    before, _ = detector.score("a", values, times)
    after, _ = detector.score("a", changed, times)
    assert np.array_equal(before.score[:at], after.score[:at])
    assert np.array_equal(before.threshold[:at], after.threshold[:at])


def test_a_saved_detector_scores_as_before_to_the_last_bit(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("models.members").members.MEMBERS, AGENT, f"{__name__}:FakeAgent")
    config = json.loads(json.dumps(detector.config(), allow_nan=False))
    arrays = {name: np.ascontiguousarray(array) for name, array in detector.arrays().items()}
    loaded = Detector.from_arrays(config, arrays)
    values, times = fresh(), clock(600)
    before, _ = detector.score("b", values, times)
    after, _ = loaded.score("b", values, times)
    assert np.array_equal(before.score, after.score)
    assert np.array_equal(before.threshold, after.threshold)
    assert np.array_equal(before.contributions, after.contributions)


def test_training_scoring_and_serving_agree() -> None:
    """Raw rows with their state and scaled parts take the same path."""
    detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    raw, _ = detector.score("a", RAW["a"][2400:], clock(600, 2400))
    scaled, _ = detector.score_scaled("a", SCALER.transform("a", RAW["a"][2400:]))
    assert np.array_equal(raw.score, scaled.score)


def test_the_same_seed_gives_the_same_scores() -> None:
    config = DetectorConfig(window=10, members=("norm", "vae"), alarm_budget_per_day=2.0, interval_s=60.0, epochs=2)
    first, second = (Detector.fit(SCALER, TRAIN, CALIBRATION, config, seed=4) for _ in range(2))
    values = fresh()
    assert np.array_equal(first.score("a", values, clock(600))[0].score, second.score("a", values, clock(600))[0].score)
    assert [record["epoch"] for record in first.history()["vae"]] == list(range(len(first.history()["vae"])))


def test_held_out_rows_are_refused_everywhere() -> None:
    held_out = parts(SCALER, RAW, HeldOutPart, 2410, 3000)
    with pytest.raises(LeakageError, match="HeldOutPart reached training"):
        Detector.fit(SCALER, held_out, CALIBRATION, CONFIG, seed=0)
    with pytest.raises(LeakageError, match="HeldOutPart reached calibration"):
        Detector.fit(SCALER, TRAIN, held_out, CONFIG, seed=0)
    with pytest.raises(LeakageError, match="TrainPart reached calibration"):
        Detector.fit(SCALER, TRAIN, TRAIN, CONFIG, seed=0)  # type: ignore[arg-type] # what the type checker would stop
    base = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    with pytest.raises(LeakageError, match="HeldOutPart reached calibration"):
        base.with_agent(FakeAgent(), held_out, positives=5)


def test_the_observation_is_the_scaled_row_and_the_bounded_scores() -> None:
    detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    values = SCALER.transform("a", np.nan_to_num(fresh(), nan=50.0) * np.float32(1.5))
    observation, _ = detector.observe("a", values)
    assert observation.dtype == np.float32
    assert observation.shape == (600, 3 + 3)
    assert np.array_equal(observation[:, :3], values)
    assert observation[:, 3:].min() >= 0
    assert observation[:, 3:].max() <= BOUND


def test_an_agent_joins_with_a_weight_that_grows_with_labels() -> None:
    base = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    values, times = fresh(), clock(600)
    before, _ = base.score("a", values, times)
    without, _ = base.with_agent(FakeAgent(), CALIBRATION, positives=0).score("a", values, times)
    many = base.with_agent(FakeAgent(), CALIBRATION, positives=180)
    np.testing.assert_allclose(without.score, before.score)
    assert many.weights.shares[AGENT] == pytest.approx(0.45)
    assert AGENT in many.score("a", values, times)[0].members
    assert AGENT not in base.score("a", values, times)[0].members
    again = many.with_agent(FakeAgent(), CALIBRATION, positives=20)
    assert again.weights.shares[AGENT] == pytest.approx(0.25)


def test_a_score_is_the_weighted_mean_of_its_members_smoothed(detector: Detector) -> None:
    scored, _ = detector.score("a", fresh(9), clock(9))
    shares = detector.weights.shares
    fast = slow = 0.0
    for row in range(9):
        combined = sum(shares[name] * score[row] for name, score in scored.members.items())
        fast = combined if row == 0 else 0.3 * combined + 0.7 * fast
        slow = combined if row == 0 else 0.1 * combined + 0.9 * slow
        assert scored.score[row] == pytest.approx(max(fast, slow))


def test_contributions_add_up_to_the_score_before_smoothing() -> None:
    detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    values = fresh()
    values[300:310] += 1e6  # far into the tail
    scored, _ = detector.score("a", values, clock(600))
    positive = sum(np.maximum(score, 0.0) / 3 for score in scored.members.values())
    np.testing.assert_allclose(scored.contributions.sum(axis=1), positive, rtol=1e-4, atol=1e-6)


def test_strangers_and_time_running_backwards_are_refused() -> None:
    detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    values = fresh(10)
    with pytest.raises(DataError, match="series stranger is not known"):
        detector.score("stranger", values, clock(10))
    with pytest.raises(DataError, match=r"wanted \(time, 3\)"):
        detector.score("a", values[:, :2], clock(10))
    with pytest.raises(DataError, match="0 rows"):
        detector.score("a", values[:0], clock(0))
    with pytest.raises(DataError, match="run backwards"):
        detector.score("a", values, clock(10)[::-1])
    _, state = detector.score("a", values, clock(10))
    with pytest.raises(DataError, match="run backwards"):
        detector.score("a", values, clock(10), state)


def test_unusable_configurations_are_refused() -> None:
    def config(members: tuple[str, ...], smoothing: float = 0.2) -> DetectorConfig:
        return DetectorConfig(10, members, 2.0, 60.0, smoothing)

    for members in ((), ("norm", "norm"), ("norm", AGENT)):
        with pytest.raises(DataError, match="each once"):
            config(members)
    with pytest.raises(DataError, match="smoothing"):
        config(("norm",), 0.0)
    with pytest.raises(DataError, match="above 0"):
        Detector.fit(SCALER, TRAIN, CALIBRATION, DetectorConfig(10, ("norm",), 0.0, 60.0), seed=0)
    with pytest.raises(BadInputError, match="no base member"):
        Detector.fit(SCALER, TRAIN, CALIBRATION, config(("oracle",)), seed=0)


def test_series_must_be_the_same_and_long_enough() -> None:
    with pytest.raises(DataError, match="different series"):
        Detector.fit(SCALER, TRAIN, {"a": CALIBRATION["a"]}, CONFIG, seed=0)
    short = parts(SCALER, RAW, TrainPart, 0, 8)
    with pytest.raises(DataError, match="shorter"):
        Detector.fit(SCALER, short, CALIBRATION, CONFIG, seed=0)


def test_progress_rises_to_the_end() -> None:
    told: list[float] = []
    config = DetectorConfig(10, ("norm", "vae"), 2.0, 60.0, epochs=1)
    Detector.fit(SCALER, TRAIN, CALIBRATION, config, seed=0, progress=lambda share, _words: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("wrong", ["unknown member", "missing array", "unknown setting"])
def test_a_version_of_another_release_is_refused(wrong: str) -> None:
    """What this release does not know gives one clear error, not a KeyError."""
    detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    config, arrays = json.loads(json.dumps(detector.config())), dict(detector.arrays())
    if wrong == "unknown member":
        config["members"]["oracle"] = {}
    elif wrong == "missing array":
        arrays.pop(next(name for name in arrays if name.startswith("scaler/")))
    else:
        config["detector"]["colour"] = "blue"
    with pytest.raises(VersionRefusedError, match="cannot build"):
        build_detector(config, arrays)


def test_blocks_score_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are scored at once, scores, thresholds and the state that is carried on are the same."""
    detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
    values, times = fresh(), clock(600)
    whole, _ = detector.score("a", values, times)
    monkeypatch.setattr("models.detector.BLOCK", 77)
    blocks, after = detector.score("a", values, times)
    np.testing.assert_allclose(blocks.score, whole.score, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(blocks.contributions, whole.contributions, rtol=1e-4, atol=1e-5)
    assert np.array_equal(blocks.alarm, whole.alarm)
    monkeypatch.undo()
    more, _ = detector.score("a", fresh(seed=3), clock(600, start=600), after)
    both, _ = detector.score("a", np.concatenate([values, fresh(seed=3)]), clock(1200))
    np.testing.assert_allclose(more.score, both.score[600:], rtol=1e-5, atol=1e-6)


def test_blocks_calibrate_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are calibrated or observed at once, lines, threshold and observation are the same."""

    def made() -> tuple[dict[str, Any], dict[str, Any], Array]:
        detector = Detector.fit(SCALER, TRAIN, CALIBRATION, CONFIG, seed=0)
        whole = detector.with_agent(FakeAgent(), CALIBRATION, positives=3)
        return whole.config()["lines"], whole.arrays(), whole.observe("a", TRAIN["a"].values)[0]

    lines, arrays, observed = made()
    monkeypatch.setattr("models.detector.BLOCK", 77)
    in_blocks = made()
    for name in ("norm", "pca", "ridge", AGENT):
        for series in RAW:
            assert in_blocks[0][name][series] == pytest.approx(lines[name][series], rel=1e-6)
    for name, array in arrays.items():
        np.testing.assert_allclose(in_blocks[1][name], array, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(in_blocks[2], observed, rtol=1e-5, atol=1e-6)


def test_fitting_and_scoring_hold_little_beside_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few scores a row stay, and the contributions: no second copy of the rows, let alone one in float64."""
    monkeypatch.setattr("models.detector.BLOCK", 4096)
    rows = np.random.default_rng(0).standard_normal((200_000, 20), dtype=np.float32)
    scaler, half = Scaler.fit({"a": rows}), len(rows) // 2
    train, calibration = (
        parts(scaler, {"a": rows}, kind, start, start + half)
        for kind, start in ((TrainPart, 0), (CalibrationPart, half))
    )
    config = DetectorConfig(window=10, members=("norm", "ridge"), alarm_budget_per_day=2.0, interval_s=60.0)
    tracemalloc.start()
    try:
        detector = Detector.fit(scaler, train, calibration, config, seed=0)
        assert tracemalloc.get_traced_memory()[1] < 0.8 * rows.nbytes
        times = clock(len(rows))
        tracemalloc.reset_peak()
        detector.score("a", rows, times)
        assert tracemalloc.get_traced_memory()[1] < 2.4 * rows.nbytes
    finally:
        tracemalloc.stop()
