"""How long the evaluation takes: CPU-seconds of each metric beside an obvious loop, or scikit-learn, in the same run.

    python benchmarks/metrics.py [--rows 24000] [--out FILE]

The input is made up: a noisy score and an event about every 800 rows. Both forms must agree, and the largest difference
between them is printed with the times.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from models.bootstrap import PairedScores, paired_block_bootstrap
from models.metrics import (
    VUS_THRESHOLDS,
    Label,
    Mask,
    Score,
    affiliation_f1,
    auc_pr,
    auc_roc,
    best_f1,
    events,
    vus_pr,
)

Floats = npt.NDArray[np.float64]
Figures = list[float]

SMALLEST = 500
WINDOW = 100  # samples, of VUS-PR
RESAMPLES = 200
ROWS_PER_DAY = 1440
REPEATS = 3  # the fastest counts: other work on the machine only ever adds time
LABEL_SEED, SCORE_SEED = 0, 1


@dataclass(frozen=True)
class Row:
    """One line of the table; `peer_cpu_s` and `difference` are None where there is no peer."""

    metric: str
    rows: int
    cpu_s: float
    peer: str
    peer_cpu_s: float | None
    difference: float | None


def made_up(rows: int) -> tuple[Label, Floats]:
    """A label with an event about every 800 rows, and a score that half sees them."""
    rng = np.random.default_rng(LABEL_SEED)
    label = np.zeros(rows, dtype=np.int8)
    for start in rng.integers(0, rows, max(rows // 800, 2)):
        label[start : start + rng.integers(1, 120)] = 1
    return label, np.random.default_rng(SCORE_SEED).normal(size=rows) + label


def loop_events(mask: Mask) -> list[list[int]]:
    """Sample by sample."""
    found: list[list[int]] = []
    inside = False
    for at, value in enumerate(mask.tolist()):
        if value and not inside:
            found.append([at, at + 1])
        elif value:
            found[-1][1] = at + 1
        inside = value
    return found


def loop_best_f1(label: Label, score: Floats) -> tuple[float, float]:
    """Threshold by threshold."""
    best, best_threshold = -1.0, 0.0
    for threshold in np.unique(score)[::-1].tolist():
        alarm = score >= threshold
        f1 = 2 * int(np.sum(alarm & (label == 1))) / int(np.sum(alarm) + np.sum(label))
        if f1 > best:
            best, best_threshold = f1, threshold
    return best, best_threshold


def loop_vus_pr(label: Label, score: Floats) -> float:
    """Buffer by buffer, threshold by threshold, the whole series each time."""
    n, inside = len(label), label == 1
    thresholds = np.sort(score)[::-1][np.linspace(0, n - 1, VUS_THRESHOLDS).astype(np.int64)]
    areas = []
    for w in range(WINDOW + 1):
        reach = w // 2
        weight = label.astype(np.float64)
        zones: list[list[int]] = []
        for start, end in loop_events(inside):
            for away in range(1, reach + 1):
                for at in (start - away, end - 1 + away):
                    if 0 <= at < n:
                        weight[at] += np.sqrt(1 - away / w)
            first, last = max(start - reach, 0), min(end + reach, n)
            if zones and first < zones[-1][1]:
                zones[-1][1] = last
            else:
                zones.append([first, last])
        weight = np.minimum(weight, 1)
        area, before = 0.0, 0.0
        for threshold in thresholds:
            alarm = score >= threshold
            hits = float(np.sum(weight[alarm]))
            anomalous = float(np.sum(label)) + float(np.sum(weight[alarm & ~inside])) / 2
            found = sum(bool(alarm[first:last].any()) for first, last in zones) / len(zones)
            recall = min(hits / anomalous, 1) * found
            area, before = area + (recall - before) * hits / int(np.sum(alarm)), recall
        areas.append(area)
    return float(np.mean(areas))


def copied_rows_auc_pr(label: Label, score: Score) -> float:
    """AUC-PR as any other metric: the bootstrap copies and sorts the rows of every resample."""
    return auc_pr(label, score)


def cpu_s(call: Callable[[], Figures], repeats: int) -> tuple[float, Figures]:
    """CPU-seconds of the fastest of some calls, and what it returned."""
    fastest, figures = np.inf, []
    for _ in range(repeats):
        start = time.process_time()
        figures = call()
        fastest = min(fastest, time.process_time() - start)
    return fastest, figures


def measure(rows: int) -> list[Row]:
    """Time every metric and its peer on one made-up series."""
    label, score = made_up(rows)
    inside, alarm = label == 1, score >= np.quantile(score, 0.95)
    better = score + 0.5 * label
    pair = PairedScores(label, score, better, np.arange(rows) // min(ROWS_PER_DAY, rows // 4))

    def bootstrap(metric: Callable[[Label, Score], float]) -> Figures:
        found = paired_block_bootstrap([pair], metric, resamples=RESAMPLES, seed=0)
        return [found.difference, found.low, found.high]

    cases: list[tuple[str, Callable[[], Figures], str, Callable[[], Figures] | None]] = [
        ("events", lambda: flat(events(inside).tolist()), "loop", lambda: flat(loop_events(inside))),
        ("auc_pr", lambda: [auc_pr(label, score)], "sklearn", lambda: [average_precision_score(label, score)]),
        ("auc_roc", lambda: [auc_roc(label, score)], "sklearn", lambda: [roc_auc_score(label, score)]),
        ("best_f1", lambda: [*best_f1(label, score)], "loop", lambda: [*loop_best_f1(label, score)]),
        ("vus_pr", lambda: [vus_pr(label, score, WINDOW)], "loop", lambda: [loop_vus_pr(label, score)]),
        ("affiliation_f1", lambda: [affiliation_f1(label, alarm)], "", None),
        (
            f"bootstrap × {RESAMPLES}",
            lambda: bootstrap(auc_pr),
            "copied rows",
            lambda: bootstrap(copied_rows_auc_pr),
        ),
    ]
    found = []
    for metric, ours, peer, theirs in cases:
        own_s, figures = cpu_s(ours, REPEATS)
        if theirs is None:
            found.append(Row(metric, rows, own_s, peer, None, None))
        else:
            peer_s, expected = cpu_s(theirs, 1)
            difference = float(np.max(np.abs(np.subtract(figures, expected)), initial=0.0))
            found.append(Row(metric, rows, own_s, peer, peer_s, difference))
    return found


def flat(spans: list[list[int]]) -> Figures:
    """Starts and ends in one list."""
    return [float(edge) for span in spans for edge in span]


def table(rows: list[Row]) -> Table:
    """Lay the rows out for the terminal."""
    shown = Table(title="CPU-seconds of the evaluation metrics")
    for column in ("metric", "peer"):
        shown.add_column(column)
    for column in ("rows", "ours", "peer's", "times faster", "largest difference"):
        shown.add_column(column, justify="right")
    for row in rows:
        ratio = difference = peer_s = "–"
        if row.peer_cpu_s is not None:
            peer_s, ratio, difference = (
                f"{row.peer_cpu_s:.5f}",
                f"{row.peer_cpu_s / max(row.cpu_s, 1e-9):.1f}",  # a clock may stand still for microseconds
                f"{row.difference:.1e}",
            )
        shown.add_row(row.metric, row.peer, f"{row.rows:,}", f"{row.cpu_s:.5f}", peer_s, ratio, difference)
    return shown


def main() -> None:
    """Measure at several sizes, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24_000, help=f"largest number of rows, at least {SMALLEST}")
    parser.add_argument("--out", type=Path, help="write the rows here, as JSON")
    wanted = parser.parse_args()
    if wanted.rows < SMALLEST:
        parser.error(f"--rows is at least {SMALLEST}, found {wanted.rows}")
    measure(SMALLEST)  # the first call of anything pays for what it loads
    sizes = sorted({SMALLEST, max(wanted.rows // 8, SMALLEST), wanted.rows})
    rows = [row for size in sizes for row in measure(size)]
    Console().print(table(rows))
    if wanted.out:
        wanted.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
