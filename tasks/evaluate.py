"""Evaluate: candidate and champion on the same held-out rows, beside a random row, a trivial row and each member.

Truth is what people and sources said of the held-out rows. Where they said nothing, anomalies are put into the rows
(models/inject.py), and the record says so. Beside them, both are scored on the library of past incidents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models import metrics
from models.bootstrap import PairedScores, paired_block_bootstrap
from models.detector import Detector
from models.detector import Scored as SeriesScored
from tasks import champion as champions
from tasks import runs, traces
from tasks.held_out import CHAMPION, Stretch, finite, read_stretches, row_of, rows_of, with_injected
from tasks.incidents import judge_incidents, store_library, taught_events
from tasks.prepare import read_bounds
from tasks.reading import score_from
from tasks.step import step
from tasks.train_vae import read_detector
from tasks.validate import day_of
from watchkeeper.clock import to_datetime, to_microseconds
from watchkeeper.errors import VersionRefusedError
from watchkeeper.lake import Lake, digest_of
from watchkeeper.progress import progress_of
from watchkeeper.records import Decision, Evaluation, IncidentResult, Prepared, Row, Trained
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

FEWEST_BLOCKS = 4
"""Blocks that a bootstrap needs to say anything."""
LABELS, INJECTED = "labels", "injected anomalies"


@dataclass(eq=False)
class Found:
    """Gathered series by series: figures, pairs for the bootstrap, pictures, the candidate's usual score."""

    rows: list[Row] = field(default_factory=list)
    paired: list[PairedScores] = field(default_factory=list)
    drawn: list[traces.Trace] = field(default_factory=list)
    usual: dict[str, float] = field(default_factory=dict)


@step()
def evaluate(lake_uri: str, registry_uri: str, watch: Watch, prepared: Prepared, candidate: Trained) -> Evaluation:
    """Score the held-out rows and write the evaluation; nothing in here reaches training code.

    A champion that cannot be read any more is nothing to compare with, and must not stand in the way of its successor:
    the candidate is judged as a first version would be, and the evaluation says why.
    """
    lake = Lake(lake_uri)
    champion, unreadable = None, ""
    try:
        champion = champions.find_champion(lake, Registry(registry_uri), watch.name)
    except VersionRefusedError as error:
        unreadable = str(error)
    against = champion.registered.version if champion else None
    # The bootstrap's settings and an unreadable champion change the evaluation, and nothing of the run besides.
    about = digest_of([watch.gate.resamples, watch.gate.level, unreadable])[:12]
    key = f"{runs.run_folder(watch, prepared.snapshot)}/evaluations/{about}/evaluation-against-{against or 'none'}"
    if runs.published(lake, key):
        return Evaluation(**runs.about(lake, key))
    detector = read_detector(lake, candidate)
    stretches = read_stretches(lake, watch, prepared)
    usable = champion if champion and champion.version.manifest.channels == prepared.channels else None
    truth = LABELS
    if not any((stretch.held_out.label == 1).any() for stretch in stretches.values()):
        truth = INJECTED
        stretches = {series: with_injected(stretch, watch.seed) for series, stretch in stretches.items()}
    tell = progress_of("evaluate")
    found = Found()
    for done, (series, stretch) in enumerate(stretches.items()):
        tell(0.8 * done / len(stretches), series)
        own = score_from(detector, series, stretch.rows, 0)
        theirs = None
        if usable and series in usable.version.manifest.series:
            theirs = score_from(usable.detector, series, stretch.rows, 0)
        _judge_series(found, series, stretch, prepared.channels, detector, own, theirs, watch.seed)
    tell(0.8, "past incidents")
    before = {series: int(stretch.held_out.timestamps[0]) for series, stretch in stretches.items()}
    library, incidents = _judge_past(lake, watch, prepared, candidate, detector, usable, before, found)
    evaluation = Evaluation(
        key=key,
        truth=truth,
        start=to_datetime(min(int(stretch.held_out.timestamps[0]) for stretch in stretches.values())),
        end=to_datetime(max(int(stretch.held_out.timestamps[-1]) for stretch in stretches.values())),
        rows=tuple(found.rows),
        against=against,
        unreadable=unreadable,
        **_compare(found.paired, watch),
        library=library,
        incidents=incidents,
        notes=_notes(champion, usable, stretches),
    )
    traces.write_traces(lake, f"{key}-traces", traces.most_telling(found.drawn))
    runs.publish(lake, key, evaluation.model_dump(mode="json"), {})
    return evaluation


def latest_evaluation(lake: Lake, audit: Sequence[Decision]) -> Evaluation | None:
    """Return the evaluation that the newest decision of the gate rests on, or None."""
    for decision in reversed(audit):
        key = decision.evidence.get("evaluation")
        if key and runs.published(lake, str(key)):
            return Evaluation(**runs.about(lake, str(key)))
    return None


def blocks_of(timestamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number the blocks that the bootstrap draws: days, or equal parts where the held-out rows span few days."""
    days = day_of(timestamps)
    if len(np.unique(days)) >= FEWEST_BLOCKS:
        return days
    return np.arange(len(timestamps), dtype=np.int64) * FEWEST_BLOCKS // len(timestamps)


def _judge_series(
    found: Found,
    series: str,
    stretch: Stretch,
    channels: tuple[str, ...],
    detector: Detector,
    own: SeriesScored,
    theirs: SeriesScored | None,
    seed: int,
) -> None:
    """Add what the scores of one series say, while they are at hand."""
    held, first = stretch.held_out, stretch.first
    found.rows += rows_of(series, stretch, own, detector, seed)
    normal = held.label != 1
    found.usual[series] = float(np.median(own.score[first:][normal if normal.any() else slice(None)]))
    if theirs is not None:
        found.rows.append(row_of(series, CHAMPION, stretch, theirs.score[first:], theirs.alarm[first:], detector))
        blocks = blocks_of(held.timestamps)
        found.paired.append(PairedScores(held.label, theirs.score[first:], own.score[first:], blocks))
    spans = metrics.alarm_events(held.label == 1, detector.settings.merge) + first
    cut = (
        traces.cut(traces.HELD_OUT, series, channels, stretch.rows, (start, end), own, theirs)
        for start, end in spans.tolist()
    )
    found.drawn += traces.most_telling(cut)


def _judge_past(
    lake: Lake,
    watch: Watch,
    prepared: Prepared,
    candidate: Trained,
    detector: Detector,
    champion: champions.Served | None,
    before: Mapping[str, int],
    found: Found,
) -> tuple[str, tuple[IncidentResult, ...]]:
    """Store the library as it stands before the held-out rows, and judge both detectors on it."""
    key, library = store_library(lake, watch, prepared, before)
    learnt = taught_events(lake, watch, prepared, candidate, read_bounds(lake, prepared))
    theirs = champion.detector if champion else None
    judged = judge_incidents(lake, library, prepared.channels, detector, theirs, learnt, found.usual)
    found.drawn += [
        traces.cut(traces.PAST, one.result.series, prepared.channels, one.rows, one.span, one.own, one.champion)
        for one in judged
    ]
    return key, tuple(one.result for one in judged)


def _notes(
    champion: champions.Served | None, usable: champions.Served | None, stretches: Mapping[str, Stretch]
) -> tuple[str, ...]:
    """Say what makes the comparison less than fair."""
    notes = []
    if champion and not usable:
        notes.append(f"version {champion.registered.version} knows other channels, so it was not compared with")
    if usable:
        learnt_until = to_microseconds(usable.version.manifest.held_out_from)
        known = [one for series, one in stretches.items() if series in usable.version.manifest.series]
        if any(int(one.held_out.timestamps[0]) < learnt_until for one in known):
            notes.append(
                f"version {usable.registered.version} has learnt from some of these held-out rows: it was trained with "
                f"another split, so the comparison favours it"
            )
        if len(known) < len(stretches):
            notes.append(f"{len(stretches) - len(known)} series came after version {usable.registered.version}")
    return tuple(notes)


def _compare(paired: list[PairedScores], watch: Watch) -> dict[str, float | None]:
    if not paired:
        return {"difference": None, "low": None, "high": None}
    found = paired_block_bootstrap(
        paired, metrics.vus_pr, resamples=watch.gate.resamples, seed=watch.seed, level=watch.gate.level
    )
    return {"difference": finite(found.difference), "low": finite(found.low), "high": finite(found.high)}
