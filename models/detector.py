"""The detector: members, calibrated, combined, smoothed and cut by a threshold. One class in training and serving.

How a row becomes an alarm: fill missing readings forward, add the watch's features, scale, score by each member, put
each score on the common scale of the calibration part, average with weights, smooth causally, compare with the adaptive
threshold.
Fitting, scoring and the saved form stand in one file, because what one of them adds the others must know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.calibration import Line, Scores, Weights, combine, compress, fit_line, smooth_fast_and_slow
from models.features import Features
from models.member import Member, State
from models.members import create_member, member_class
from models.parts import CalibrationPart, Part, TrainPart, require_train
from models.scaler import Scaler
from models.threshold import ThresholdConfig, adapt, start_state
from models.windows import Array
from watchkeeper.errors import BadInputError, DataError, LeakageError, VersionRefusedError
from watchkeeper.progress import Progress

BLOCK = 65_536
"""Rows scored at once, in calibration too: members make copies of what they score, which stay small beside all rows."""
AGENT = "agent"
"""The member that reads the observation instead of the scaled values."""
TINY = 1e-30
"""Keeps the share of a channel in a score of zero finite."""


@dataclass(frozen=True)
class DetectorConfig:
    """What a detector is built of.

    Attributes:
        window: length in samples of the windows of the watch.
        members: names of base members (models/members.py); the agent joins by `Detector.with_agent`.
        alarm_budget_per_day: alarms per day and series that people are willing to look at.
        interval_s: seconds between two samples.
        smoothing: weight of the newest score in the fast moving average, above 0, at most 1.
        slow_smoothing: the same in the slow one. The score is the larger of the two averages: the fast one answers a
            sharp anomaly at once, the slow one gathers a weak one that lasts.
        merge: samples; alarms closer than this count as one.
        epochs: of the networks; bounds their training time (models/vae.py).
        device: where networks train, "cpu" or "cuda"; scoring after loading is on the CPU.
    """

    window: int
    members: tuple[str, ...]
    alarm_budget_per_day: float
    interval_s: float
    smoothing: float = 0.3
    slow_smoothing: float = 0.1
    merge: int = 10
    epochs: int = 12
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if not self.members or len(set(self.members)) != len(self.members) or AGENT in self.members:
            raise DataError(f"a detector needs base members, each once, found {', '.join(self.members) or 'none'}")
        for weight in (self.smoothing, self.slow_smoothing):
            if not 0 < weight <= 1:
                raise DataError(f"smoothing is above 0 and at most 1, found {weight}")

    @property
    def threshold(self) -> ThresholdConfig:
        """The rule of the threshold."""
        return ThresholdConfig(self.alarm_budget_per_day, self.interval_s, self.merge)


@dataclass(frozen=True, eq=False)
class Scored:
    """What the detector says of consecutive rows of one series.

    Attributes:
        score: float64 (time,), combined and smoothed; higher is more anomalous.
        threshold: float64 (time,), what the score is compared with.
        alarm: bool (time,), score >= threshold.
        members: each member's calibrated score, float64 (time,).
        contributions: float32 (time, channel), not negative: what each channel adds, through the members that can tell,
            to the combined score before smoothing.
    """

    score: Scores
    threshold: Scores
    alarm: npt.NDArray[np.bool_]
    members: Mapping[str, Scores]
    contributions: Array


def _joined(pieces: Sequence[Scored], contributions: Array) -> Scored:
    """Put the blocks of one call together; their contributions are in one array already."""
    if len(pieces) == 1:
        return pieces[0]
    return Scored(
        score=np.concatenate([piece.score for piece in pieces]),
        threshold=np.concatenate([piece.threshold for piece in pieces]),
        alarm=np.concatenate([piece.alarm for piece in pieces]),
        members={name: np.concatenate([piece.members[name] for piece in pieces]) for name in pieces[0].members},
        contributions=contributions,
    )


class Detector:
    """Scores series; made by `fit`, `with_agent` or `from_arrays`, and not changed afterwards."""

    def __init__(
        self,
        config: DetectorConfig,
        scaler: Scaler,
        members: Mapping[str, Member],
        lines: Mapping[str, Mapping[str, Line]],
        weights: Weights,
        starts: Mapping[str, State],
        features: Features | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            config: as fitted.
            scaler: of the same series.
            members: fitted, by name, in the order of the observation; the agent last.
            lines: the calibration of each member, by member and series.
            weights: of the members.
            starts: the threshold's state at the end of the calibration part, by series.
            features: further columns of the members' input, fitted on the same series; None where there are none.
        """
        self._config = config
        self._scaler = scaler
        self._members = dict(members)
        self._lines = {name: dict(by_series) for name, by_series in lines.items()}
        self._weights = weights
        self._starts = dict(starts)
        self._features = features

    @classmethod
    def fit(
        cls,
        scaler: Scaler,
        train: Mapping[str, TrainPart],
        calibration: Mapping[str, CalibrationPart],
        config: DetectorConfig,
        seed: int,
        progress: Progress | None = None,
        features: Features | None = None,
    ) -> Self:
        """Fit the base members on the training parts, then scale and threshold on the calibration parts.

        Args:
            scaler: fitted on the training rows of the same series.
            train: scaled rows to learn from, by series, with their features.
            calibration: scaled rows after them, of the same series.
            config: members and budget.
            seed: for every random choice.
            progress: told the share done.
            features: fitted on the training rows; None where there are none.

        Raises:
            LeakageError: a part is not of its type: held-out rows were about to be used.
            DataError: a series is too short or not in both parts.
        """
        require_train(train)
        _require_calibration(calibration)
        if not train or set(train) != set(calibration):
            raise DataError(f"train and calibration hold different series: {sorted(train)} and {sorted(calibration)}")
        rows = {series: part.values for series, part in train.items()}
        members: dict[str, Member] = {}
        for index, name in enumerate(config.members):
            members[name] = create_member(name, config.window, config.epochs, config.device)
            members[name].fit(rows, seed, _stretch(progress, index, len(config.members), name))
        unset = cls(config, scaler, members, {}, Weights.equal(config.members), {}, features)
        return unset._calibrated(calibration)

    def with_agent(self, agent: Member, calibration: Mapping[str, CalibrationPart], positives: int) -> Self:
        """Return a detector with an agent as one more member; this one stays as it is.

        Args:
            agent: fitted on observations (`observe`) of training rows.
            calibration: the parts that `fit` had.
            positives: how many labels of anomalous events the agent has learnt from; its weight grows with them
                (`Weights.with_agent`).

        Raises:
            LeakageError: a part is not a `CalibrationPart`.
        """
        _require_calibration(calibration)
        members = {**{name: m for name, m in self._members.items() if name != AGENT}, AGENT: agent}
        weights = self._weights.with_agent(AGENT, positives)
        unset = type(self)(self._config, self._scaler, members, {}, weights, {}, self._features)
        return unset._calibrated(calibration)

    @property
    def settings(self) -> DetectorConfig:
        """The configuration it was fitted with."""
        return self._config

    @property
    def scaler(self) -> Scaler:
        """The scaler."""
        return self._scaler

    @property
    def weights(self) -> Weights:
        """The weights of the members, and where they come from."""
        return self._weights

    @property
    def series(self) -> tuple[str, ...]:
        """The series it knows, sorted."""
        return tuple(sorted(self._starts))

    def observe(self, series: str, values: Array, state: State | None = None) -> tuple[Array, State]:
        """Build what the agent sees.

        Args:
            series: a known one.
            values: scaled float32 (time, channel).
            state: what the call on the rows just before returned; None at the start of a series.

        Returns:
            float32 (time, channel + base members): the scaled values, then each base member's calibrated score,
            compressed to 0…5; and the state to go on with.
        """
        state = state or {}
        out = np.empty((len(values), values.shape[1] + len(self._config.members)), np.float32)
        for first in range(0, len(values), BLOCK):
            block = values[first : first + BLOCK]
            scores, _, state = self._base(series, block, state, explain=False)
            out[first : first + BLOCK] = self._observation(block, scores)
        return out, state

    def score(
        self, series: str, values: Array, timestamps: npt.NDArray[np.int64], state: State | None = None
    ) -> tuple[Scored, State]:
        """Score raw rows as they come in. The cost grows with the new rows only.

        Args:
            series: a known one.
            values: raw float32 (time, channel), at least one row; missing readings are NaN and are filled forward.
            timestamps: int64 (time,), microseconds since 1970 UTC, ascending, after those of the state.
            state: what the call on the rows just before returned; None at the start of a series.

        Raises:
            DataError: the series or its channels are not known, there are no rows, or time runs backwards.
        """
        state = state or {}
        previous = state.get("at")
        times = timestamps if previous is None else np.concatenate([previous, timestamps])
        if len(values) == 0 or len(values) != len(timestamps):
            raise DataError(f"series {series}: found {len(values)} rows and {len(timestamps)} timestamps, wanted rows")
        if (np.diff(times) < 0).any():
            raise DataError(f"series {series}: timestamps run backwards; rows are scored once, in the order of time")
        pieces, contributions = [], self._no_contributions(series, values)
        for first in range(0, len(values), BLOCK):
            rows = slice(first, first + BLOCK)
            filled, last = self._scaler.fill_forward(series, values[rows], state.get("last"))
            scaled, made = self._scaler.transform(series, filled), State()
            if self._features:
                own = _inner(state, "features") or None
                scaled, made = self._features.append(series, filled, scaled, timestamps[rows], own)
            piece, after = self._score_block(series, scaled, state, contributions[rows])
            pieces.append(piece)
            state = {**after, **_outer(made, "features"), "last": last}
        return _joined(pieces, contributions), {**state, "at": timestamps[-1:].copy()}

    def score_scaled(self, series: str, values: Array, state: State | None = None) -> tuple[Scored, State]:
        """Score rows that are filled and scaled already, with their features, as parts are: see `score`."""
        state, pieces, contributions = state or {}, [], self._no_contributions(series, values)
        for first in range(0, max(len(values), 1), BLOCK):
            rows = slice(first, first + BLOCK)
            piece, state = self._score_block(series, values[rows], state, contributions[rows])
            pieces.append(piece)
        return _joined(pieces, contributions), state

    def _no_contributions(self, series: str, values: Array) -> Array:
        """One array for the contributions of all blocks, float32 (time, channel): joining blocks would hold two."""
        return np.zeros((len(values), self._scaler.channels(series)), np.float32)

    def _score_block(self, series: str, values: Array, state: State, contributions: Array) -> tuple[Scored, State]:
        """Score the rows of one block, and write their contributions where they belong."""
        calibrated, parts, after = self._all(series, values, state)
        contributions[:] = self._features.recipe.fold(parts) if self._features else parts
        combined = combine(calibrated, self._weights)
        score, averages = self._smoothed(combined, state.get("averages"))
        threshold_state = _inner(state, "threshold") or self._starts[series]
        threshold, threshold_after = adapt(score, threshold_state, self._config.threshold)
        after |= _outer(threshold_after, "threshold") | {"averages": averages}
        return Scored(score, threshold, score >= threshold, calibrated, contributions), after

    def history(self) -> dict[str, list[dict[str, float]]]:
        """Training metrics of the networks, by member, one record per epoch; empty after loading."""
        return {
            name: [dict(record) for record in member.history]
            for name, member in self._members.items()
            if member.history
        }

    def config(self) -> dict[str, Any]:
        """What is needed besides the arrays to build the detector again, as JSON-able values."""
        return {
            "detector": {**asdict(self._config), "members": list(self._config.members)},
            "scaler": self._scaler.config(),
            "members": {name: member.config() for name, member in self._members.items()},
            "lines": {
                name: {series: asdict(line) for series, line in by_series.items()}
                for name, by_series in self._lines.items()
            },
            "weights": self._weights.config(),
            **({"features": self._features.config()} if self._features else {}),
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was learnt, as named arrays (`safetensors` writes them)."""
        out = _outer(self._scaler.arrays(), "scaler")
        for name, member in self._members.items():
            out |= _outer(member.arrays(), f"members/{name}")
        for series, start in self._starts.items():
            out |= _outer(start, f"start/{series}")
        if self._features:
            out |= _outer(self._features.arrays(), "features")
        return out

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build a fitted detector from what `config` and `arrays` returned."""
        settings = config["detector"]
        return cls(
            DetectorConfig(**{**settings, "members": tuple(settings["members"])}),
            Scaler.from_arrays(config["scaler"], _inner(arrays, "scaler")),
            {
                name: member_class(name).from_arrays(own, _inner(arrays, f"members/{name}"))
                for name, own in config["members"].items()
            },
            {
                name: {series: Line(**line) for series, line in by_series.items()}
                for name, by_series in config["lines"].items()
            },
            Weights(**config["weights"]),
            {series: _inner(arrays, f"start/{series}") for series in config["scaler"]["series"]},
            Features.from_arrays(config["features"], _inner(arrays, "features")) if "features" in config else None,
        )

    def _calibrated(self, calibration: Mapping[str, CalibrationPart]) -> Self:
        """Set lines, then the threshold's start, on the calibration parts. Only called before anyone else holds it."""
        self._lines = {name: {} for name in self._members}
        for series, part in calibration.items():
            scores: dict[str, Scores] = {}
            for name in self._members:  # the agent last: it sees the others' scores
                raw = self._raw(name, series, part.values, scores)
                self._lines[name][series] = fit_line(raw)
                scores[name] = self._lines[name][series].calibrate(raw)
            score, _ = self._smoothed(combine(scores, self._weights))
            self._starts[series] = start_state(score, self._config.threshold)
        return self

    def _raw(self, name: str, series: str, values: Array, seen: Mapping[str, Scores]) -> Scores:
        """One member's scores of a whole part, block by block, as in scoring: 8 bytes a row are all that stays.

        Args:
            name: of the member.
            series: a known one.
            values: scaled float32 (time, channel).
            seen: the base members' calibrated scores of all rows, for the agent's observation.
        """
        out = np.empty(len(values))
        state: State | None = None
        for first in range(0, len(values), BLOCK):
            rows = slice(first, first + BLOCK)
            block = values[rows]
            if name == AGENT:
                block = self._observation(block, {other: scores[rows] for other, scores in seen.items()})
            out[rows], state = self._members[name].score(series, block, state)
        return out

    def _base(
        self, series: str, values: Array, state: State, *, explain: bool = True
    ) -> tuple[dict[str, Scores], Array, State]:
        """Calibrated scores of the base members, their weighted contributions, and the members' states."""
        scores: dict[str, Scores] = {}
        total = np.zeros(values.shape, np.float32)
        after: State = {}
        for name, member in self._members.items():
            if name == AGENT:
                continue
            own = _inner(state, name) or None
            line = self._line(name, series)
            if explain:
                raw, contributions, own_after = member.explain(series, values, own)
                scores[name] = line.calibrate(raw)
                if contributions is not None:
                    whole = np.maximum(contributions.sum(axis=1, dtype=np.float64), TINY)
                    part = self._weights.shares[name] * np.maximum(scores[name], 0.0) / whole
                    total += contributions * part.astype(np.float32)[:, None]
            else:
                raw, own_after = member.score(series, values, own)
                scores[name] = line.calibrate(raw)
            after |= _outer(own_after, name)
        return scores, total, after

    def _all(self, series: str, values: Array, state: State) -> tuple[dict[str, Scores], Array, State]:
        """As `_base`, and the agent's score where there is an agent."""
        scores, contributions, after = self._base(series, values, state)
        if agent := self._members.get(AGENT):
            own = _inner(state, AGENT) or None
            raw, own_after = agent.score(series, self._observation(values, scores), own)
            scores[AGENT] = self._line(AGENT, series).calibrate(raw)
            after |= _outer(own_after, AGENT)
        return scores, contributions, after

    def _smoothed(self, combined: Scores, before: Scores | None = None) -> tuple[Scores, Scores]:
        return smooth_fast_and_slow(combined, self._config.smoothing, self._config.slow_smoothing, before)

    def _line(self, name: str, series: str) -> Line:
        if series not in self._lines[name]:
            raise DataError(
                f"series {series} is not known to this detector; known are {', '.join(sorted(self._lines[name]))}"
            )
        return self._lines[name][series]

    @staticmethod
    def _observation(values: Array, scores: Mapping[str, Scores]) -> Array:
        columns = [compress(score)[:, None] for name, score in scores.items() if name != AGENT]
        return np.concatenate([values, *columns], axis=1)


def build_detector(config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Detector:
    """Build the detector of a version, or refuse it.

    Args:
        config: what `Detector.config` returned when the version was written, perhaps by another release.
        arrays: its arrays.

    Raises:
        VersionRefusedError: a member, a key or an array is missing or not known.
    """
    try:
        return Detector.from_arrays(config, arrays)
    except (KeyError, TypeError, ValueError, RuntimeError, BadInputError) as error:  # torch raises RuntimeError
        raise VersionRefusedError(
            f"the version holds a detector that this release cannot build ({error!r}); retrain, or roll back to another"
        ) from error


def _require_calibration(parts: Mapping[str, Part]) -> None:
    for series, part in parts.items():
        if not isinstance(part, CalibrationPart):
            raise LeakageError(f"series {series}: {type(part).__name__} reached calibration, wanted CalibrationPart")


def _stretch(progress: Progress | None, index: int, count: int, name: str) -> Progress | None:
    """Tell a member's progress as a part of the whole fit's."""
    if progress is None:
        return None
    whole = progress
    whole(index / count, f"fitting {name}")

    def tell(share: float, words: str) -> None:
        whole((index + share) / count, f"{name}: {words}")

    return tell


def _outer(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}/{key}": array for key, array in arrays.items()}


def _inner(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {key[len(prefix) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{prefix}/")}
