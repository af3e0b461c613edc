"""Which rule sets the threshold: the adaptive budget quantile beside frozen quantiles, SPOT and DSPOT, in one run.

    python benchmarks/threshold.py --data DIR --groups smd --out threshold.json

Each series is a watch of its own; its detector is fitted on the train file and scores the test file, and each rule cuts
the same scores. Alarms are counted after the first day. SPOT and DSPOT are told the risk that the budget allows: alarms
a day over samples a day. The floor is a rule that raises its alarms at random times, as many as the budget.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from quality import Series, fit_series, read_series
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models import metrics
from models.calibration import Scores
from models.threshold import ThresholdConfig, adapt, start_state

DAY_S = 86_400
INITIAL = 0.98
"""The quantile of the calibration scores beyond which scores are peaks (Siffer et al., section 4.4)."""
FEWEST_PEAKS = 10
Alarms = npt.NDArray[np.bool_]
console = Console(width=130)


@dataclass(frozen=True)
class Row:
    """One rule on one series."""

    group: str
    series: str
    rule: str
    f1_share: float
    alarms_per_day: float
    event_recall: float
    time_in_alarm: float


def generalised_pareto(excesses: Scores) -> tuple[float, float]:
    """Shape ξ and scale σ by probability-weighted moments.

    Source: Hosking and Wallis, "Parameter and Quantile Estimation for the Generalized Pareto Distribution",
    Technometrics 29 (1987), section 2.2 (their k is −ξ).
    """
    ordered, count = np.sort(excesses), len(excesses)
    first = float(ordered.mean())
    second = float((ordered * (count - np.arange(1, count + 1))).sum() / (count * max(count - 1, 1)))
    spread = first - 2.0 * second
    if spread <= 1e-12 * max(first, 1e-12):
        return 0.0, max(first, 1e-12)
    return 2.0 - first / spread, max(2.0 * first * second / spread, 1e-12)


def spot(quiet: Scores, scores: Scores, risk: float, depth: int = 0) -> Alarms:
    """Peaks over threshold on a stream; with a depth (DSPOT) on the distance from the mean of the last `depth` scores.

    Source: Siffer, Fouque, Termier and Largouët, "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017,
    algorithms 1 and 2.
    """
    recent = list(quiet[-depth:]) if depth else []
    level = sum(recent)
    base = quiet - _moving_mean(quiet, depth) if depth else quiet
    initial = float(np.quantile(base, INITIAL))
    peaks = [value - initial for value in base.tolist() if value > initial]
    seen = len(base)

    def cut() -> float:
        if len(peaks) < FEWEST_PEAKS:
            return math.inf
        shape, scale = generalised_pareto(np.array(peaks))
        ratio = risk * seen / len(peaks)
        return initial + (scale / shape * (ratio**-shape - 1.0) if abs(shape) > 1e-9 else -scale * math.log(ratio))

    threshold = cut()
    alarm = np.zeros(len(scores), dtype=bool)
    for at, score in enumerate(scores.tolist()):
        value = score - level / depth if depth else score
        if value > threshold:
            alarm[at] = True  # an anomaly, and no part of what is usual
            continue
        seen += 1
        if value > initial:
            peaks.append(value - initial)
            threshold = cut()
        if depth:
            level += score - recent.pop(0)
            recent.append(score)
    return alarm


def _moving_mean(scores: Scores, depth: int) -> Scores:
    padded = np.concatenate([np.full(depth, scores[0]), scores])
    total = np.concatenate([[0.0], np.cumsum(padded)])
    mean: Scores = (total[depth : depth + len(scores)] - total[: len(scores)]) / depth
    return mean


def rules_of(rule: ThresholdConfig) -> dict[str, Callable[[Scores, Scores], Alarms]]:
    """Every rule, from scores on quiet rows and scores to cut, to alarms."""
    risk = rule.budget_per_day * rule.interval_s / DAY_S
    day = max(1, round(DAY_S / rule.interval_s))

    def at_random(_: Scores, scores: Scores) -> Alarms:
        return np.random.default_rng(0).random(len(scores)) < risk

    def adaptive(quiet: Scores, scores: Scores) -> Alarms:
        return scores >= adapt(scores, start_state(quiet, rule), rule)[0]

    return {
        "random": at_random,
        "frozen, 99 %": lambda quiet, scores: scores >= np.quantile(quiet, 0.99),
        "frozen, 99.9 %": lambda quiet, scores: scores >= np.quantile(quiet, 0.999),
        "SPOT": lambda quiet, scores: spot(quiet, scores, risk),
        "DSPOT, an hour": lambda quiet, scores: spot(quiet, scores, risk, max(2, day // 24)),
        "DSPOT, a day": lambda quiet, scores: spot(quiet, scores, risk, min(day, len(quiet) // 2)),
        "adaptive (shipped)": adaptive,
    }


def judge(series: Series) -> list[Row]:
    """Cut one series' scores by every rule."""
    fitted = fit_series(series, seed=0)
    rule = fitted.detector.settings.threshold
    quiet = fitted.detector.score_scaled(series.name, fitted.calibration[series.name].values)[0].score
    score = fitted.detector.score_scaled(series.name, fitted.test)[0].score
    best = metrics.best_f1(series.label, score)[0]
    first = min(round(DAY_S / rule.interval_s), len(score) // 2)
    rows = []
    for name, cut in rules_of(rule).items():
        alarm = cut(quiet, score)
        figures = (
            metrics.point_metrics(series.label, alarm).f1 / best if best > 0 else math.nan,
            metrics.alarms_per_day(alarm[first:], rule.interval_s, rule.merge),
            metrics.event_recall(series.label, alarm),
            float(alarm.mean()),
        )
        rows.append(Row(series.group, series.name, name, *(float(figure) for figure in figures)))
    return rows


def show(rows: list[Row]) -> None:
    """Print means over the series of each group, and the most alarms a day on a series."""
    for group in dict.fromkeys(row.group for row in rows):
        table = Table("rule", "F1 / best F1", "alarms/day", "most", "event recall", "most time in alarm", box=None)
        table.title, table.title_justify = f"{group}, budget 2 alarms a day", "left"
        for name in dict.fromkeys(row.rule for row in rows):
            own = [row for row in rows if (row.group, row.rule) == (group, name)]
            table.add_row(
                name,
                f"{np.nanmean([row.f1_share for row in own]):.2f}",
                f"{np.mean([row.alarms_per_day for row in own]):.2f}",
                f"{max(row.alarms_per_day for row in own):.2f}",
                f"{np.nanmean([row.event_recall for row in own]):.2f}",
                f"{max(row.time_in_alarm for row in own):.2f}",
            )
        console.print(table)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.train.parquet and NAME.test.parquet")
    parser.add_argument("--groups", default="smd", help="comma-separated")
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(path.name.removesuffix(".test.parquet") for path in given.data.glob("*.test.parquet"))
    chosen = [name for name in names if name.split("_")[0] in given.groups.split(",")]
    if not chosen:
        parser.error(f"no series of {given.groups} in {given.data}")
    rows = [
        row
        for name in track(chosen, description="series", console=console)
        for row in judge(read_series(given.data, name))
    ]
    if given.out:
        given.out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
