"""Records: what steps hand to one another. Small, frozen, JSON-able; URIs and keys, never arrays or clients.

`str(record)` is the one line of result that a step shows.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from watchkeeper.clock import to_datetime


class Record(BaseModel):
    """A frozen record; unknown fields are refused when one is read back."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RawFile(Record):
    """One immutable Parquet file of raw rows: one series, one day (UTC)."""

    key: str
    series: str
    date: str
    rows: int
    start: datetime
    end: datetime
    sha256: str


class Snapshot(Record):
    """An immutable list of raw files, label files and questions asked so far: what a version is trained on.

    `sources` are digests of source files that were taken in whole, so that a later ingest passes over them.
    """

    id: str
    watch: str
    channels: tuple[str, ...]
    files: tuple[RawFile, ...]
    labels: tuple[str, ...]
    queue: tuple[str, ...]
    sources: tuple[str, ...]
    rows: int
    start: datetime
    end: datetime

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the series, sorted."""
        return tuple(sorted({file.series for file in self.files}))

    @property
    def times(self) -> dict[str, tuple[datetime, datetime]]:
        """Of each series the oldest and the newest time."""
        found: dict[str, tuple[datetime, datetime]] = {}
        for file in self.files:
            start, end = found.get(file.series, (file.start, file.end))
            found[file.series] = min(start, file.start), max(end, file.end)
        return found


class Refusal(Record):
    """A file that could not be used, and why."""

    origin: str
    reason: str


def findings_line(findings: Mapping[str, int]) -> str:
    """Say in one line what a report on the quality of rows found, by kind."""
    if not findings:
        return "nothing to look at"
    return f"{sum(findings.values()):,} to look at: {', '.join(f'{kind} {n:,}' for kind, n in findings.items())}"


class Ingested(Record):
    """What an ingest did."""

    snapshot: str
    rows: int
    new_rows: int
    quarantined: dict[str, int]
    refused: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    findings: dict[str, int] = {}
    """What the report on the quality of the rows found, by kind."""
    report: str = ""
    """URI of its page; empty where nothing came."""

    def __str__(self) -> str:
        bad = sum(self.quarantined.values())
        tail = f", {bad:,} rows quarantined" if bad else ""
        tail += f", {len(self.refused)} files refused" if self.refused else ""
        return f"{self.new_rows:,} new rows, {self.rows:,} in all, snapshot {self.snapshot}{tail}"


class Prepared(Record):
    """Scaled rows, split by time, under one key of the lake."""

    key: str
    folder: str
    snapshot: str
    channels: tuple[str, ...]
    series: tuple[str, ...]
    interval_s: float
    rows: int
    left_out: tuple[Refusal, ...] = ()

    def __str__(self) -> str:
        tail = f", {len(self.left_out)} series left out" if self.left_out else ""
        return f"{len(self.series)} series × {len(self.channels)} channels, {self.rows:,} rows{tail}"


class Trained(Record):
    """A fitted detector, still without the agent or with it, under one key of the lake."""

    key: str
    members: tuple[str, ...]
    summary: str

    def __str__(self) -> str:
        return self.summary


class WarmedUp(Record):
    """Pseudo-labels for the replay buffer, under one key of the lake."""

    key: str
    anomalous: int
    normal: int

    def __str__(self) -> str:
        if not self.key:
            return "left out: agent.enabled is false"
        return f"{self.anomalous:,} extremes and {self.normal:,} normal windows from the Isolation Forest"


class Question(Record):
    """A window that the agent asked about; `answer` is 1, 0, or None while nobody knows."""

    series: str
    start: datetime
    end: datetime
    reason: str
    answer: int | None

    @classmethod
    def of(cls, series: str, start: int, end: int, reason: str, answer: int) -> "Question":
        """Make one from times in µs since 1970 UTC and an answer of 1, 0 or −1."""
        known = None if answer < 0 else answer
        return cls(series=series, start=to_datetime(start), end=to_datetime(end), reason=reason, answer=known)


class Asked(Record):
    """What became of the agent's questions."""

    questions: int
    answered: int

    def __str__(self) -> str:
        return f"{self.questions} questions, {self.answered} answered, {self.questions - self.answered} for people"


class Row(Record):
    """One row of the evaluation: how one scorer did on the held-out rows of one series. NaN stands as None."""

    series: str
    row: str
    vus_pr: float | None
    auc_pr: float | None
    best_f1: float | None
    f1: float | None
    event_recall: float | None
    alarms_per_day: float | None
    precision: float | None = None
    recall: float | None = None
    delay_s: float | None = None
    """From the start of an event to its first alarm, mean over the events that were found."""
    affiliation_f1: float | None = None
    point_adjusted_f1: float | None = None
    """Says little by itself: noise scores high. Shown beside the random row only."""


def mean_of(rows: Iterable[Row], row: str, metric: str) -> float | None:
    """Return the mean of a metric of one scorer over the series that have it; None where none has."""
    values = [value for one in rows if one.row == row and (value := getattr(one, metric)) is not None]
    return sum(values) / len(values) if values else None


class Incident(Record):
    """A past incident of the library: rows of the raw store by reference, none of them copied."""

    series: str
    start: datetime
    end: datetime
    """Half open: the incident's last row lies before it."""
    since: datetime
    """The first row of the context that detectors score before it."""
    files: tuple[str, ...]
    """Keys of the raw files that hold its rows and their context."""


class IncidentResult(Record):
    """How candidate and champion did on a past incident."""

    series: str
    start: datetime
    end: datetime
    learnt: bool
    """Whether the candidate was trained on these rows with this label: then finding it is no skill on new rows."""
    comparable: bool
    """Whether the rows around it look to the candidate as its held-out rows do; others are from another world."""
    found: bool
    delay_s: float | None
    champion_found: bool | None
    """None where there is no champion that knows the series."""
    champion_delay_s: float | None

    def __str__(self) -> str:
        return f"{self.series} {self.start:%Y-%m-%d %H:%M}"


class Evaluation(Record):
    """Candidate and champion on the same held-out rows, and on the library of past incidents."""

    key: str
    truth: str
    start: datetime
    end: datetime
    rows: tuple[Row, ...]
    against: int | None
    unreadable: str = ""
    """Why the champion could not be compared with, where its folder is damaged."""
    difference: float | None
    low: float | None
    high: float | None
    library: str = ""
    """Key of the library that the incidents are from."""
    incidents: tuple[IncidentResult, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know of how fair the comparison is."""

    def mean(self, row: str, metric: str) -> float | None:
        """The mean of a metric over the series that have it; None where none has."""
        return mean_of(self.rows, row, metric)

    def __str__(self) -> str:
        own, random = self.mean("combination", "vus_pr"), self.mean("random", "vus_pr")
        if own is None or random is None:
            return "no anomaly in the held-out rows"
        return f"VUS-PR {own:.3f} on held-out rows (random {random:.3f}), truth: {self.truth}"


class Registered(Record):
    """A version in the registry."""

    watch: str
    version: int
    source: str
    sha256: str

    def __str__(self) -> str:
        return f"version {self.version} of {self.watch}"


class Decision(Record):
    """What the gate, a person or a probation decided, and why. One audit record each."""

    watch: str
    action: str
    """promoted, refused, kept, confirmed (the end of a probation), rolled back, or failed"""
    version: int
    previous: int | None
    who: str
    when: datetime
    reasons: tuple[str, ...]
    evidence: dict[str, Any] = Field(default_factory=dict)
    key: str = ""

    def __str__(self) -> str:
        if self.action == "rolled back":
            return f"rolled back to version {self.version}"
        return f"version {self.version} {self.action}"


class Scored(Record):
    """What a score run did."""

    watch: str
    version: int
    rows: int
    alarms: int
    start: datetime | None
    end: datetime | None
    left_out: tuple[str, ...] = ()
    """Series that came after the version was trained."""
    days: float = 0.0
    """Days of readings scored, summed over series: what the alarm budget is for."""

    def __str__(self) -> str:
        if not self.rows:
            return f"no new rows for version {self.version}"
        return f"{self.rows:,} rows scored by version {self.version}, {self.alarms:,} alarms"


class Probation(Record):
    """What a look at a champion on probation found; `version` is None where nobody is on probation."""

    watch: str
    version: int | None
    state: Literal["none", "running", "kept", "confirmed", "rolled back"]
    days: float = 0.0
    of_days: float = 0.0
    alarms: int = 0
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.version is None:
            return "nobody is on probation"
        if self.state == "running":
            return f"version {self.version}: {self.days:.2g} of {self.of_days:g} days seen, {self.alarms} alarms"
        told = {"kept": "left its bounds and stays", "confirmed": "confirmed", "rolled back": "rolled back"}
        return f"version {self.version} {told[self.state]}: {self.reasons[0]}"


class DriftCheck(Record):
    """What a drift check found; `started` says that its event asks for a retrain."""

    watch: str
    version: int
    when: datetime
    until: datetime
    exceeds: bool
    consecutive: int
    started: bool
    reasons: tuple[str, ...]
    report: str
    verdict: str
    event_id: str | None

    def __str__(self) -> str:
        if not self.exceeds:
            return f"no drift against version {self.version}"
        tail = ", retrain asked for" if self.started else ""
        return f"drift against version {self.version}, check {self.consecutive} in a row{tail}"


class Retrained(Record):
    """What a retrain did, from first row to decision."""

    ingested: Ingested
    prepared: Prepared
    evaluation: Evaluation
    version: Registered
    decision: Decision

    def __str__(self) -> str:
        return str(self.decision)


class Stage(Record):
    """Where a backtest plays: a lake and a registry of its own, and the nights that it replays."""

    folder: str
    lake: str
    registry: str
    nights: tuple[datetime, ...]
    done: int
    """Nights that were played before: by a backtest that was killed."""

    def __str__(self) -> str:
        tail = f", {self.done} of them already played" if self.done else ""
        return f"{len(self.nights)} nights, {self.nights[0]:%Y-%m-%d %H:%M} to {self.nights[-1]:%Y-%m-%d %H:%M}{tail}"


class Night(Record):
    """What happened in one night of a backtest, in the order of its fields."""

    when: datetime
    rows: int
    champion: int | None
    """The version that scored the rows since the night before; None in the first night."""
    alarms: int
    drifted: bool | None
    """Whether the drift check found drift; None where it could not be made."""
    asked_to_retrain: bool
    remark: str
    """Why there was no drift check, or what a probation did."""
    questions: int
    answered: int
    decision: str
    reason: str
    """The decision's first."""
    version: int
    vus_pr: float | None
    """Of the candidate on its held-out rows."""
    against_vus_pr: float | None
    """Of the champion on the same rows."""

    def __str__(self) -> str:
        seen = f"version {self.champion}: {self.alarms} alarms; " if self.champion else ""
        drift = "drift; " if self.drifted else ""
        return f"{self.when:%Y-%m-%d %H:%M}: {seen}{drift}version {self.version} {self.decision}"


class Backtested(Record):
    """A watch's life, replayed: what was scored night by night, beside a first version that nobody retrains."""

    watch: str
    nights: tuple[Night, ...]
    start: datetime
    end: datetime
    """The rows judged lie between the first night and the last."""
    rows: tuple[Row, ...]
    difference: float | None
    """VUS-PR of a night as lived, less that of the first version kept; mean over nights and series."""
    low: float | None
    high: float | None
    report: str

    def mean(self, row: str, metric: str) -> float | None:
        """The mean of a metric over the series that have it; None where none has."""
        return mean_of(self.rows, row, metric)

    def __str__(self) -> str:
        promoted = sum(night.decision == "promoted" for night in self.nights)
        return f"{len(self.nights)} nights, {promoted} promotion{'s' if promoted != 1 else ''}"
