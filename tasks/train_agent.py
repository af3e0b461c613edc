"""Train the agent on training rows, with questions answered under the label budget, and add it to the detector."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from models.agent import train_agent as train
from models.detector import AGENT, Detector
from models.query import Interval, Query
from tasks import runs
from tasks.prepare import Learning, read_learning
from tasks.rows import read_snapshot
from tasks.step import step
from tasks.train_vae import read_detector, set_up_torch
from tasks.warm_up import agent_config
from watchkeeper.clock import to_microseconds
from watchkeeper.labels import label_samples, read_labels, runs_of
from watchkeeper.lake import Lake
from watchkeeper.progress import progress_of
from watchkeeper.records import Prepared, Question, Trained, WarmedUp
from watchkeeper.watch import Watch

Labels = npt.NDArray[np.int8]


@step()
def train_agent(
    lake_uri: str, watch: Watch, prepared: Prepared, base: Trained, replay: WarmedUp, device: str, threads: int
) -> Trained:
    """Train the LSTM-DQN and add it to the base detector; without `agent.enabled` the base is the candidate."""
    if not watch.agent.enabled:
        return base.model_copy(update={"summary": "left out: agent.enabled is false"})
    lake = Lake(lake_uri)
    key = f"{runs.run_folder(watch, prepared.snapshot)}/agent"
    if not runs.published(lake, key):
        set_up_torch(device, threads)
        _train(lake, watch, prepared, base, replay, key, device)
    about = runs.about(lake, key)
    return Trained(key=key, members=(*watch.members, AGENT), summary=about["summary"])


def _train(
    lake: Lake, watch: Watch, prepared: Prepared, base: Trained, replay: WarmedUp, key: str, device: str
) -> None:
    learning = read_learning(lake, watch, prepared)
    detector, config = read_detector(lake, base), agent_config(watch, device)
    observations = {series: detector.observe(series, parts.train.values)[0] for series, parts in learning.items()}
    errors = {series: _error(detector, series, parts) for series, parts in learning.items()}
    known = {series: parts.train.label for series, parts in learning.items()}
    truth = _truth(lake, watch, prepared, learning) if watch.labels.imported == "oracle" else {}

    def oracle(series: str, start: int, end: int) -> int:
        """Answer as a person would who knows what came with the data: anomalous if any sample is."""
        answer = truth.get(series, np.empty(0, np.int8))[start:end]
        return -1 if not len(answer) or (answer < 0).any() else int(answer.max())

    trained = train(
        observations,
        errors,
        known,
        oracle if truth else None,
        config,
        watch.seed,
        progress=progress_of("train agent"),
        asked=[*_asked(lake, watch, prepared, learning), *unanswerable(truth), *told(known)],
        pseudo=runs.arrays_of(lake, replay.key),
    )
    positives = count_positives(known, trained.queries, config.query_window)
    calibration = {series: parts.calibration for series, parts in learning.items()}
    complete = detector.with_agent(trained.agent, calibration, positives)
    answered = len(trained.queries) - len(trained.unanswered)
    weight = complete.weights.shares[AGENT]
    summary = (
        f"{len(trained.history)} episodes, {answered} of {len(trained.queries)} questions answered, "
        f"{positives} positive windows, weight {weight:.2f}"
    )
    about = {
        "detector": complete.config(),
        "history": [asdict(episode) for episode in trained.history],
        "questions": [_question(query, learning[query.series]).model_dump(mode="json") for query in trained.queries],
        "members": [*watch.members, AGENT],
        "summary": summary,
    }
    runs.publish(lake, key, about, complete.arrays())


def _error(detector: Detector, series: str, parts: Learning) -> npt.NDArray[np.float64]:
    """Return what the intrinsic reward rests on: the VAE's calibrated error, or the whole detector's without a VAE."""
    scored, _ = detector.score_scaled(series, parts.train.values)
    return scored.members.get("vae", scored.score)


def _truth(lake: Lake, watch: Watch, prepared: Prepared, learning: Mapping[str, Learning]) -> dict[str, Labels]:
    """Return what came with the data about the training rows, for the oracle alone."""
    events = read_labels(lake, read_snapshot(lake, watch.name, prepared.snapshot).labels)
    return {series: label_samples(events, series, parts.train.timestamps) for series, parts in learning.items()}


def _asked(lake: Lake, watch: Watch, prepared: Prepared, learning: Mapping[str, Learning]) -> list[Interval]:
    """Return the windows that earlier retrains asked about, in rows of the training part."""
    asked = []
    for key in read_snapshot(lake, watch.name, prepared.snapshot).queue:
        for item in lake.get_json(key):
            question = Question(**item)
            if question.series in learning:
                times = learning[question.series].train.timestamps
                start, end = np.searchsorted(times, [to_microseconds(question.start), to_microseconds(question.end)])
                asked.append((question.series, int(start), int(end)))
    return asked


def unanswerable(truth: Mapping[str, Labels]) -> list[Interval]:
    """Return the stretches that an oracle knows nothing of; asking there would spend the budget on silence."""
    return [
        (series, int(start), int(end))
        for series, label in truth.items()
        for start, end in runs_of(label)
        if label[start] < 0
    ]


def told(known: Mapping[str, Labels]) -> list[Interval]:
    """Return the stretches whose label is known; asking there would tell nothing new."""
    return [
        (series, int(start), int(end))
        for series, label in known.items()
        for start, end in runs_of(label)
        if label[start] >= 0
    ]


def _question(query: Query, parts: Learning) -> Question:
    times = parts.train.timestamps
    return Question.of(query.series, int(times[query.start]), int(times[query.end - 1]) + 1, query.reason, query.answer)


def count_positives(known: Mapping[str, Labels], queries: tuple[Query, ...], window: int) -> int:
    """Count anomalous labels in windows: those answered so, and known stretches in windows they would fill."""
    stretches = sum(
        -(-int(end - start) // window) for label in known.values() for start, end in runs_of(label) if label[start] == 1
    )
    return stretches + sum(query.answer == 1 for query in queries)


def questions_of(lake: Lake, trained: Trained) -> list[dict[str, Any]]:
    """Return the questions of a trained agent as they are stored; none where there is no agent."""
    return list(runs.about(lake, trained.key).get("questions", []))
