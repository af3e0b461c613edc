"""How good: every member, the combination and the agent on labelled series, beside floors and peers, in one run.

    python benchmarks/quality.py --data DIR --groups smd,asd --seeds 1 --out quality.json --plot quality.png

DIR holds NAME.train.parquet and NAME.test.parquet (timestamp, channels; label in test files). The group of a series is
its name up to the first underscore; a test file without a train file takes GROUP_normal.train.parquet. Each series is a
watch of its own; one that cannot be used is named and left out. Rows without labels are judged on the whole test part
and on its second half; rows with labels get them from windows of the first half, asked for by the agent, and are judged
on the second half only.

Each row of the output is one scorer on one part of one series with one seed. The file is long because the protocol, the
scorers and the printing of one benchmark are read together.
"""

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models import metrics
from models.agent import Trained, train_agent
from models.agent_config import AgentConfig
from models.calibration import Scores, smooth
from models.detector import AGENT, Detector, DetectorConfig
from models.members import MEMBERS
from models.parts import CalibrationPart, TrainPart
from models.pca import Pca
from models.ridge import Ridge
from models.scaler import Scaler
from models.threshold import adapt, start_state
from models.windows import Array, cut_windows
from watchkeeper.errors import DataError
from watchkeeper.watch import Watch

FRACTIONS = (0.01, 0.05, 0.10)
WINDOW, BUDGET_PER_DAY, CALIBRATION = 50, 2.0, 0.15
BASE: tuple[str, ...] = Watch.model_fields["members"].default
"""The members of the combination: those that a watch has by default."""
OTHERS = tuple(name for name in MEMBERS if name not in (*BASE, AGENT))
"""Members that a watch file can name; judged alone."""
FIGURES = ("auc_pr", "best_f1", "f1", "alarms_per_day", "event_recall")
WHOLE, SECOND_HALF = "whole", "second_half"
Labels = npt.NDArray[np.int8]
console = Console(width=150)


@dataclass(frozen=True)
class Row:
    """One scorer on one part of one series with one seed; None where a figure is not defined."""

    group: str
    series: str
    seed: int
    row: str
    labels: float
    part: str
    vus_pr: float | None
    auc_pr: float | None
    best_f1: float | None
    f1: float | None
    alarms_per_day: float | None
    event_recall: float | None


@dataclass(frozen=True, eq=False)
class Series:
    """A labelled series as read from its two files, in its own units."""

    name: str
    group: str
    train: Array
    test: Array
    times: npt.NDArray[np.int64]
    label: Labels
    interval_s: float


def read_series(folder: Path, name: str) -> Series:
    """Read one series.

    Raises:
        DataError: a file is missing or is no Parquet file, a column is missing, or there are fewer than two rows.
    """
    group = name.split("_", maxsplit=1)[0]
    train = folder / f"{name}.train.parquet"
    shared = folder / f"{group}_normal.train.parquet"
    if not train.exists() and not shared.exists():
        raise DataError(f"series {name}: neither {train.name} nor {shared.name} in {folder}")
    if not (folder / f"{name}.test.parquet").exists():
        raise DataError(f"series {name}: no {name}.test.parquet in {folder}")
    try:
        before = pq.ParquetFile(train if train.exists() else shared).read()
        after = pq.ParquetFile(folder / f"{name}.test.parquet").read()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"series {name}: {error}") from error
    channels = [column for column in before.column_names if column not in ("timestamp", "label")]
    if missing := {"timestamp", "label", *channels} - set(after.column_names):
        raise DataError(f"series {name}: the test file has no column {', '.join(sorted(missing))}")
    if min(len(before), len(after)) < 2 or not channels:
        raise DataError(
            f"series {name}: {len(before)} rows to train, {len(after)} to test, {len(channels)} channels; wanted two "
            f"rows each and a channel"
        )
    times = after["timestamp"].cast(pa.int64()).to_numpy()
    interval_s = float(np.median(np.diff(times))) / 1e6
    # clocks of old files step back in places; the benchmark is about values, so a regular clock stands in
    regular = times[0] + (np.arange(len(times)) * interval_s * 1e6).astype(np.int64)
    return Series(
        name, group, _values(before, channels), _values(after, channels), regular,
        after["label"].to_numpy().astype(np.int8), interval_s,
    )  # fmt: skip


def _values(table: pa.Table, channels: list[str]) -> Array:
    return np.stack([table[channel].to_numpy().astype(np.float32) for channel in channels], axis=1)


class Judge:
    """Turns scores into rows."""

    def __init__(self, series: Series, seed: int, rule: Any) -> None:
        self._series, self._seed, self._rule = series, seed, rule
        self.rows: list[Row] = []

    def unlabelled(self, name: str, quiet: Scores, scores: Scores) -> None:
        """Add a scorer that saw no label, with the threshold that its scores on quiet rows give."""
        threshold, _ = adapt(scores, start_state(quiet, self._rule), self._rule)
        for part in (WHOLE, SECOND_HALF):
            self.add(name, 0.0, part, scores, scores >= threshold)

    def add(self, name: str, labels: float, part: str, scores: Scores, alarm: npt.NDArray[np.bool_]) -> None:
        """Add a scorer on a part of the test rows."""
        rows = slice(len(scores) // 2 if part == SECOND_HALF else 0, None)
        label, score, said = self._series.label[rows], scores[rows], alarm[rows]
        figures = {
            "vus_pr": metrics.vus_pr(label, score),
            "auc_pr": metrics.auc_pr(label, score),
            "best_f1": metrics.best_f1(label, score)[0],
            "f1": metrics.point_metrics(label, said).f1,
            "alarms_per_day": metrics.alarms_per_day(said, self._series.interval_s, self._rule.merge),
            "event_recall": metrics.event_recall(label, said),
        }
        known = {key: float(value) if math.isfinite(value) else None for key, value in figures.items()}
        self.rows.append(Row(self._series.group, self._series.name, self._seed, name, labels, part, **known))


@dataclass(frozen=True, eq=False)
class Fitted:
    """Detectors fitted on a series' train file, and the scaled rows of both files."""

    detector: Detector
    others: Detector
    train: dict[str, TrainPart]
    calibration: dict[str, CalibrationPart]
    before: Array
    test: Array


@dataclass(frozen=True, eq=False)
class Parts:
    """The scaled rows of a series: the last part of the train file calibrates."""

    scaler: Scaler
    window: int
    train: dict[str, TrainPart]
    calibration: dict[str, CalibrationPart]
    before: Array
    test: Array


def parts_of(series: Series) -> Parts:
    """Scale and split one series."""
    times = series.times[0] - (len(series.train) - np.arange(len(series.train))) * int(series.interval_s * 1e6)
    unknown = np.full(len(series.train), -1, np.int8)
    window = min(WINDOW, len(series.train) // 8)
    cut = len(series.train) - max(int(CALIBRATION * len(series.train)), window) - window  # a window between the parts
    scaler = Scaler.fit({series.name: series.train[:cut]})
    before, test = (_scaled(scaler, series.name, values) for values in (series.train, series.test))
    start = cut + window
    train = {series.name: TrainPart(before[:cut], times[:cut], unknown[:cut])}
    calibration = {series.name: CalibrationPart(before[start:], times[start:], unknown[start:])}
    return Parts(scaler, window, train, calibration, before, test)


def fit_series(series: Series, seed: int) -> Fitted:
    """Fit the default detector, and one of all other members, on the train file."""
    parts = parts_of(series)
    configs = (DetectorConfig(parts.window, members, BUDGET_PER_DAY, series.interval_s) for members in (BASE, OTHERS))
    fitted = (Detector.fit(parts.scaler, parts.train, parts.calibration, config, seed) for config in configs)
    return Fitted(*fitted, parts.train, parts.calibration, parts.before, parts.test)


def judge_series(series: Series, seed: int, fractions: tuple[float, ...], peers: bool) -> list[Row]:
    """Fit, score and judge everything on one series."""
    fitted = fit_series(series, seed)
    detector, calibration = fitted.detector, fitted.calibration
    window = detector.settings.window
    judge = Judge(series, seed, detector.settings.threshold)
    quiet, _ = detector.score_scaled(series.name, calibration[series.name].values)
    said, _ = detector.score_scaled(series.name, fitted.test)
    noise = np.random.default_rng(seed)
    judge.unlabelled("random", noise.random(len(quiet.score)), noise.random(len(series.label)))
    judge.unlabelled("trivial", quiet.members["norm"], said.members["norm"])
    more_quiet, _ = fitted.others.score_scaled(series.name, calibration[series.name].values)
    more_said, _ = fitted.others.score_scaled(series.name, fitted.test)
    before, after = {**quiet.members, **more_quiet.members}, {**said.members, **more_said.members}
    for name in (*BASE, *OTHERS):
        if name not in ("norm", "ridge"):
            judge.unlabelled(name, smooth(before[name], 0.2), smooth(after[name], 0.2))
    for part in (WHOLE, SECOND_HALF):
        judge.add("combination", 0.0, part, said.score, said.alarm)
    _simple_rows(judge, series.name, fitted.train, calibration, fitted.test, window)
    if peers:
        _pyod_rows(judge, fitted.train[series.name].values, calibration[series.name].values, fitted.test, window, seed)
    for fraction in fractions:
        _labelled_rows(judge, series, fitted, fraction, seed)
    return judge.rows


def _scaled(scaler: Scaler, name: str, values: Array) -> Array:
    return scaler.transform(name, scaler.fill_forward(name, values)[0])


def _simple_rows(
    judge: Judge,
    name: str,
    train: Mapping[str, TrainPart],
    calibration: Mapping[str, CalibrationPart],
    test: Array,
    window: int,
) -> None:
    """Add PCA of samples, the field's PCA of windows, and the ridge autoregression with errors relative to training.

    The second is averaged over covering windows, so it is not causal.
    """
    ridge = Ridge()
    ridge.fit({name: train[name].values}, seed=0)
    errors = [ridge.errors(name, part, None)[0] for part in (calibration[name].values, test)]
    judge.unlabelled("ridge", *(smooth(part.mean(axis=1, dtype=np.float64), 0.2) for part in errors))
    point = Pca(window=1)
    point.fit({name: train[name].values}, seed=0)
    quiet, _ = point.score(name, calibration[name].values)
    scores, _ = point.score(name, test)
    judge.unlabelled("pca_point", smooth(quiet, 0.2), smooth(scores, 0.2))
    judge.unlabelled("pca_w50", *_covering_pca(train[name].values, [calibration[name].values, test], window))


def _covering_pca(train: Array, parts: list[Array], window: int, components: int = 30) -> list[Scores]:
    from sklearn.decomposition import PCA

    windows = cut_windows(train, window, stride=max(1, len(train) // 4000))
    flat = windows.reshape(len(windows), -1)
    pca = PCA(min(components, *flat.shape), random_state=0).fit(flat)
    found = []
    for values in parts:
        if len(values) < window:
            found.append(np.zeros(len(values)))
            continue
        views, errors, covers = cut_windows(values, window), np.zeros(len(values)), np.zeros(len(values))
        for begin in range(0, len(views), 2048):
            block = views[begin : begin + 2048].reshape(-1, flat.shape[1])
            error = np.square(block - pca.inverse_transform(pca.transform(block))).mean(axis=1)
            for offset in range(window):
                errors[begin + offset : begin + offset + len(error)] += error
                covers[begin + offset : begin + offset + len(error)] += 1
        found.append(errors / np.maximum(covers, 1))
    return found


def _pyod_rows(judge: Judge, train: Array, quiet: Array, test: Array, window: int, seed: int) -> None:
    """Add PyOD's detectors where PyOD is installed."""
    try:
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.iforest import IForest
        from pyod.models.pca import PCA
    except ImportError:
        return
    moving = train.std(axis=0) > 0
    train, quiet, test = train[:, moving], quiet[:, moving], test[:, moving]
    rank = int(np.linalg.matrix_rank(train - train.mean(axis=0)))  # it divides by eigenvalues, those of 0 too
    for name, peer in (("pyod_pca", PCA(n_components=rank)), ("pyod_iforest", IForest(random_state=seed))):
        peer.fit(train)
        judge.unlabelled(name, np.asarray(peer.decision_function(quiet)), np.asarray(peer.decision_function(test)))
    flat = [
        np.ascontiguousarray(cut_windows(part, window)).reshape(-1, window * part.shape[1])
        for part in (train, quiet, test)
    ]
    auto = AutoEncoder(hidden_neuron_list=[128, 64], epoch_num=5, random_state=seed, verbose=0)
    auto.fit(flat[0])
    scores = [np.asarray(auto.decision_function(part)) for part in flat[1:]]
    first = [np.concatenate([np.full(window - 1, part[0]), part]) for part in scores]
    judge.unlabelled("pyod_autoencoder", *first)


def ask_and_train(
    series: Series, fitted: Fitted, fraction: float, seed: int, changes: Mapping[str, Any] | None = None
) -> Trained:
    """Train an agent that may ask about a share of the windows of the first half of the test part.

    Args:
        series: whose labels answer.
        fitted: its detector and rows.
        fraction: of the windows of the first half.
        seed: of the agent.
        changes: settings of the agent that are not the default.
    """
    half, before = len(series.label) // 2, len(fitted.before)
    rows = np.concatenate([fitted.before, fitted.test[:half]])  # in the order of time; no row of the second half
    window = fitted.detector.settings.window
    usual = AgentConfig()
    budget = max(1, round(fraction * half / usual.query_window))
    observed = fitted.detector.observe(series.name, rows)[0]
    said, _ = fitted.detector.score_scaled(series.name, rows)

    def oracle(_: str, start: int, end: int) -> int:
        return int(series.label[start - before : end - before].max())

    return train_agent(
        {series.name: observed},
        {series.name: said.members.get("vae", said.score)},
        {},
        oracle,
        AgentConfig(window=window, stride=min(usual.stride, window), label_budget=budget, **(changes or {})),
        seed,
        asked=[(series.name, 0, before)],  # the train part has no labels to give
    )


def _labelled_rows(judge: Judge, series: Series, fitted: Fitted, fraction: float, seed: int) -> None:
    """Judge an agent that asked about windows of the first half, on the second half."""
    detector, calibration = fitted.detector, fitted.calibration
    trained = ask_and_train(series, fitted, fraction, seed)
    positives = sum(query.answer == 1 for query in trained.queries)
    complete = detector.with_agent(trained.agent, calibration, positives)
    after, _ = complete.score_scaled(series.name, fitted.test)
    quiet, _ = complete.score_scaled(series.name, calibration[series.name].values)
    alone = smooth(after.members[AGENT], 0.2)
    threshold, _ = adapt(
        alone, start_state(smooth(quiet.members[AGENT], 0.2), detector.settings.threshold), detector.settings.threshold
    )
    judge.add("agent", fraction, SECOND_HALF, alone, alone >= threshold)
    judge.add("combination_agent", fraction, SECOND_HALF, after.score, after.alarm)


def leaky_figure(series: Series, seed: int) -> float:
    """Return the VUS-PR that a classifier gets when rows for training and testing are drawn at random: leakage."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    scaler = Scaler.fit({series.name: series.train})
    rows = _scaled(scaler, series.name, series.test)
    chosen = np.random.default_rng(seed).random(len(rows)) < 0.5
    if len(np.unique(series.label[chosen])) < 2:
        return math.nan
    model = HistGradientBoostingClassifier(random_state=seed).fit(rows[chosen], series.label[chosen])
    score = np.zeros(len(rows))
    score[~chosen] = model.predict_proba(rows[~chosen])[:, 1]
    return metrics.vus_pr(series.label[~chosen], score[~chosen])


def show(rows: list[Row]) -> None:
    """Print the mean of each scorer over series and seeds, with an interval over series, and each series' VUS-PR."""
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        table = Table(
            title=f"{group}: mean over {len({row.series for row in own})} series", title_justify="left", box=None
        )
        for name in (
            "row",
            "labels",
            "part",
            "VUS-PR",
            "95 % over series",
            "AUC-PR",
            "best F1",
            "F1",
            "alarms/day",
            "event recall",
        ):
            table.add_column(name, justify="left" if name in ("row", "part") else "right")
        for key in dict.fromkeys((row.row, row.labels, row.part) for row in own):
            chosen = [row for row in own if (row.row, row.labels, row.part) == key]
            low, high = interval(_by_series(chosen, "vus_pr").values())
            table.add_row(
                key[0], f"{key[1]:.0%}", key[2], _figure(_by_series(chosen, "vus_pr")), f"{low:.3f} to {high:.3f}",
                *(_figure(_by_series(chosen, name)) for name in FIGURES),
            )  # fmt: skip
        console.print(table)
        _show_gain(own)


def _show_gain(rows: list[Row]) -> None:
    """Print what the agent adds to the combination, paired over series and seeds."""
    plain = {(r.series, r.seed): r.vus_pr for r in rows if r.row == "combination" and r.part == SECOND_HALF}
    for fraction in dict.fromkeys(row.labels for row in rows if row.row == "combination_agent"):
        with_agent = [row for row in rows if row.row == "combination_agent" and row.labels == fraction]
        gains = [
            row.vus_pr - before
            for row in with_agent
            if row.vus_pr is not None and (before := plain[row.series, row.seed]) is not None
        ]
        if gains:
            low, high = interval(gains)
            console.print(
                f"agent with {fraction:.0%} labels: VUS-PR {np.mean(gains):+.3f} "
                f"[{low:+.3f}, {high:+.3f}] in {len(gains)} pairs"
            )


def _by_series(rows: list[Row], name: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if (value := getattr(row, name)) is not None:
            found.setdefault(row.series, []).append(value)
    return {series: float(np.mean(values)) for series, values in found.items()}


def _figure(values: Mapping[str, float]) -> str:
    return f"{_mean(values.values()):.3f}"


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return float(np.mean(known)) if known else math.nan


def interval(values: Iterable[float], resamples: int = 2000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean."""
    known = np.array(list(values))
    if not len(known):
        return math.nan, math.nan
    drawn = np.random.default_rng(0).choice(known, (resamples, len(known)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def plot(rows: list[Row], file: Path) -> None:
    """Draw the mean VUS-PR of each scorer on the second half, by group, with intervals over series."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = list(dict.fromkeys(row.group for row in rows))
    figure, axes = plt.subplots(1, len(groups), figsize=(5 * len(groups), 5), squeeze=False, layout="constrained")
    for axis, group in zip(axes[0], groups, strict=True):
        own = [row for row in rows if row.group == group and row.part == SECOND_HALF]
        keys = list(dict.fromkeys((row.row, row.labels) for row in own))
        means, lows, highs = [], [], []
        for key in keys:
            values = _by_series([row for row in own if (row.row, row.labels) == key], "vus_pr").values()
            low, high = interval(values)
            mean = _mean(values)
            means.append(mean)
            lows.append(mean - low)
            highs.append(high - mean)
        names = [f"{name} {labels:.0%}" if labels else name for name, labels in keys]
        axis.barh(names, means, xerr=[lows, highs], color="tab:blue", alpha=0.8)
        axis.invert_yaxis()
        axis.set(
            title=f"{group}: second half of the test part", xlabel="VUS-PR, mean and 95 % over series", xlim=(0, 1)
        )
    figure.savefig(file, dpi=110)


def named_series(folder: Path) -> list[str]:
    """Name the series of a folder, by either of their files; a training file for a whole group is none."""
    found = {path.name.rsplit(".", 2)[0] for kind in ("train", "test") for path in folder.glob(f"*.{kind}.parquet")}
    return sorted(name for name in found if name.split("_", maxsplit=1)[1:] != ["normal"])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.train.parquet and NAME.test.parquet")
    parser.add_argument("--groups", default="smd", help="comma-separated; 'all' takes every series")
    parser.add_argument("--series", default="", help="comma-separated names instead of groups")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--labels", default=",".join(map(str, FRACTIONS)), help="shares of windows; empty leaves the agent out"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave PyOD out")
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines")
    parser.add_argument("--plot", type=Path, help="draw the means")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = named_series(given.data)
    wanted = list(filter(None, given.series.split(",")))
    groups = set(given.groups.split(","))
    chosen = wanted or [name for name in names if "all" in groups or name.split("_")[0] in groups]
    if not chosen:
        parser.error(f"no series of {given.groups} in {given.data}")
    try:
        fractions = tuple(float(share) for share in given.labels.split(",") if share)
    except ValueError:
        parser.error(f"--labels takes shares such as 0.01,0.05, found {given.labels}")
    rows: list[Row] = []
    for name in track(chosen, description="series", console=console):
        try:
            series = read_series(given.data, name)
            for seed in range(given.seeds):
                rows += judge_series(series, seed, fractions, not given.no_peers)
        except DataError as error:
            console.print(f"{name} left out: {error}", style="yellow")
            continue
        if not (series.label == 1).any():
            console.print(f"{name} has no anomaly in its test part: only its alarms a day are figures", style="yellow")
        if given.out:
            given.out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    if not rows:
        parser.error("every series was left out")
    show(rows)
    first = rows[0].series
    leaky = leaky_figure(read_series(given.data, first), seed=0)
    if math.isfinite(leaky):
        console.print(f"warning: rows drawn at random for training give VUS-PR {leaky:.2f} on {first}: leakage")
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
