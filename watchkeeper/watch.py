"""A watch: a named group of series that share one model, one schedule, one label budget and one alarm budget."""

import difflib
import math
import re
import tomllib
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from watchkeeper.errors import WatchError
from watchkeeper.features import FeatureRule
from watchkeeper.settings import first_problem
from watchkeeper.sources import FolderSource, Source
from watchkeeper.table import Table, as_utc

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What a watch, a series or a channel-free path part may be called: it becomes part of paths in the lake."""

MemberName = Literal["norm", "pca", "ridge", "vae", "lstm", "quiet", "iforest"]
"""The base members that there are (models/members.py)."""

Share = Annotated[float, Field(gt=0, lt=1)]


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError("wanted a date or a time, such as 2026-01-15 or 2026-01-15T06:00:00Z")
    return value


Moment = Annotated[datetime, BeforeValidator(_no_number), AfterValidator(as_utc)]
"""A date, which is its first moment, or a time; UTC unless it says otherwise."""


class SplitRule(Table):
    """Where the parts lie, by time, training first: by shares of the rows, or from two dates on."""

    history_days: float | None = Field(default=None, gt=0, description="only so many of the latest days are used")
    calibration: Share = 0.15
    held_out: Share = 0.15
    calibration_from: Moment | None = Field(default=None, description="rows from here on; instead of the shares")
    held_out_from: Moment | None = Field(default=None, description="rows from here on; instead of the shares")
    gap: int | None = Field(default=None, description="rows between two parts; None: one window, and never fewer")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        dates = {name for name in ("calibration_from", "held_out_from") if getattr(self, name) is not None}
        usual = type(self).model_fields  # a share that is as usual may have been written out by us
        shares = {name for name in ("calibration", "held_out") if getattr(self, name) != usual[name].default}
        if len(dates) == 1:
            raise ValueError(f"{dates.pop()} stands alone; wanted both calibration_from and held_out_from, or none")
        if dates and shares:
            words = " and ".join(sorted(shares))
            raise ValueError(f"both dates and shares; remove {words}, or calibration_from and held_out_from")
        if self.calibration_from and self.held_out_from and self.calibration_from >= self.held_out_from:
            found = f"{self.calibration_from:%Y-%m-%dT%H:%M} and {self.held_out_from:%Y-%m-%dT%H:%M}"
            raise ValueError(f"calibration_from must lie before held_out_from, found {found}")
        if self.calibration + self.held_out >= 1:
            found = f"{self.calibration} and {self.held_out}"
            raise ValueError(f"calibration and held_out must leave rows for training, found {found}")
        return self


class RangeRule(Table):
    """Between which readings a channel's lie when its sensor works, and what becomes of a row where one does not."""

    action: Literal["report", "quarantine"] = "report"
    limits: dict[str, tuple[float, float]] = Field(default={}, description="by channel, the lowest and the highest")

    @field_validator("limits")
    @classmethod
    def _ascending(cls, limits: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for channel, (low, high) in limits.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{channel} wants the lowest and the highest reading, found {low:g} and {high:g}")
        return limits


class LabelRule(Table):
    """How many windows the agent may ask about in one retrain, and what labels that came with the data are for.

    `known`: they train the agent. `oracle`: they answer its questions within the budget, as a person would.
    """

    budget: int = Field(default=50, ge=0)
    imported: Literal["known", "oracle"] = "known"


class AlarmRule(Table):
    """How many alarms people are willing to look at."""

    budget_per_day: float = Field(default=2.0, gt=0)


class AgentRule(Table):
    """The agent: how long it trains. `enabled = false` leaves it out of the detector."""

    enabled: bool = True
    episodes: int = Field(default=12, ge=1)


class DriftRule(Table):
    """When the world counts as changed (tasks/drift.py)."""

    days: float = Field(default=4.0, gt=0, description="how many of the latest days are compared")
    share: Share = 0.3
    consecutive: int = Field(default=2, ge=1, description="checks in a row that must find drift")
    cool_down_hours: float = Field(default=24.0, ge=0)


class GateRule(Table):
    """When a candidate takes over."""

    resamples: int = Field(default=200, ge=20)
    level: Share = 0.9
    tolerance: float = Field(default=0.02, ge=0, description="how far below the champion the interval may reach")
    alarm_slack: float = Field(default=1.5, ge=1, description="alarms per day, as a multiple of the budget")


class ProbationRule(Table):
    """How a new champion is watched after its promotion, and what makes it go back by itself."""

    days: float = Field(default=2.0, ge=0, description="of new rows that it is watched on; 0: no probation")
    alarm_slack: float = Field(default=2.0, ge=1, description="alarms per day, as a multiple of the budget")
    alarm_share: Share = 0.25
    score_slack: float = Field(default=2.0, ge=1, description="move of the score, as a multiple of its limit")


class KeepRule(Table):
    """What `watchkeeper gc` leaves (docs/operations.md); champion, challenger and previous stay in any case."""

    versions: int = Field(default=10, ge=1, description="the newest so many stay, with what they were made from")
    grace_hours: float = Field(default=24.0, ge=0, description="nothing younger goes; longer than a retrain")
    scores_days: float | None = Field(default=None, gt=0, description="days of scores; None: all")
    reports_days: float | None = Field(default=None, gt=0, description="days of reports; None: all")


class Schedule(Table):
    """Cron expressions in UTC; `watchkeeper deploy` puts them on a server."""

    ingest: str = "*/15 * * * *"
    retrain: str = "0 2 * * *"
    score: str = "*/15 * * * *"
    check_drift: str = "30 * * * *"
    collect: str = "5 5 * * *"


class Watch(Table):
    """What is watched and how. See watches/plant.toml for each key with its meaning."""

    name: str
    source: Source
    channels: tuple[str, ...] = ()
    window: int = Field(default=50, ge=2, le=10_000)
    stride: int = Field(default=1, ge=1)
    members: tuple[MemberName, ...] = ("norm", "pca", "ridge", "vae", "lstm", "quiet")
    seed: int = Field(default=0, ge=0)
    features: FeatureRule = FeatureRule()
    ranges: RangeRule = RangeRule()
    split: SplitRule = SplitRule()
    labels: LabelRule = LabelRule()
    alarms: AlarmRule = AlarmRule()
    agent: AgentRule = AgentRule()
    drift: DriftRule = DriftRule()
    gate: GateRule = GateRule()
    probation: ProbationRule = ProbationRule()
    keep: KeepRule = KeepRule()
    schedule: Schedule = Schedule()

    @field_validator("ranges")
    @classmethod
    def _known_channels(cls, ranges: RangeRule, info: ValidationInfo) -> RangeRule:
        channels = info.data.get("channels", ())  # none: all that the first file has, which ingest knows
        if channels and (unknown := [name for name in ranges.limits if name not in channels]):
            raise ValueError(f"limits name {unknown[0]}, which is not among the {len(channels)} of channels")
        return ranges

    @field_validator("split")
    @classmethod
    def _no_window_straddles(cls, split: SplitRule, info: ValidationInfo) -> SplitRule:
        window = info.data.get("window", 0)  # absent when it is itself refused, which is said first
        if split.gap is not None and split.gap < window:
            raise ValueError(f"gap must be at least the window of {window} rows, found {split.gap}")
        return split


def watch_names(folder: Path) -> list[str]:
    """Return the names of the watch files of a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_watch(name: str, folder: Path, data: Path | None = None) -> Watch:
    """Load `<folder>/<name>.toml`.

    Args:
        name: of the watch.
        folder: of watch files.
        data: what `$WATCHKEEPER_DATA` stands for in a source's folder; None leaves it to the environment.

    Raises:
        WatchError: there is no such watch, or its file is not valid.
    """
    known = watch_names(folder)
    if name not in known:
        if not known:
            raise WatchError(f"watch {name}: no watch files in {folder.absolute()}; run from the project's folder")
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise WatchError(f"watch {name}: there is no {folder / name}.toml; {hint}")
    if not NAME.fullmatch(name):
        raise WatchError(f"watch {name}: a name holds letters, digits, '_', '-' and '.'")
    file = folder / f"{name}.toml"
    try:
        table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        if "name" in table:
            raise WatchError("unknown key name; a watch is called what its file is called")
        watch = Watch(name=name, **table)
        if watch.channels:  # without them, the first ingest says which there are: tasks/prepare.py checks then
            watch.features.columns(watch.channels)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WatchError(f"{file}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise WatchError(f"{file}: {first_problem(error)}") from error
    except WatchError as error:
        raise WatchError(f"{file}: {error}") from error
    if data is None or not isinstance(watch.source, FolderSource):
        return watch
    place = Template(watch.source.folder).safe_substitute(WATCHKEEPER_DATA=data)
    return watch.model_copy(update={"source": watch.source.model_copy(update={"folder": place})})
