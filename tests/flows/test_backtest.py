"""A watch's life replayed over its history: judged by what was known at the time, and nothing of the watch changed."""

import importlib
import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from small_watch import AGENT_OFF, DAY, Small, make_small

from flows.backtest import backtest
from models import metrics
from tasks import backtest as life
from tasks import backtest_report, check_drift
from tasks.backtest import champions_of, nights_between
from tasks.backtest_judge import KEPT, LIVED, gain_of, judge_lives, rank_by_night
from watchkeeper.cli import main
from watchkeeper.errors import DataError
from watchkeeper.labels import label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Backtested, Stage
from watchkeeper.registry import Registry, folder_of
from watchkeeper.settings import load_settings
from watchkeeper.version import read_version
from watchkeeper.watch import Watch, load_watch

ROWS, CHANGED = 3000, 1500
SELDOM = dict.fromkeys(range(150, ROWS, 211), 5.0)
FIRST = 1300 // DAY
"""The day of the first night."""
RULES = f"{AGENT_OFF}[split]\nhistory_days = 6\n[drift]\ndays = 2\n"


@pytest.fixture
def small(source: Any, tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small watch, in a home of its own, over a world that becomes another one on the way."""
    return over_a_changing_world(make_small(source, tmp_path, fresh_database, monkeypatch))


@pytest.fixture(scope="module")
def left(
    module_source: Any, fresh_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Backtested, Stage]:
    """A backtest whose stage was left standing. Only for reading."""
    stages: list[Stage] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backtest_report, "clear_stage", stages.append)
        over_a_changing_world(make_small(module_source, tmp_path_factory.mktemp("left"), fresh_database, patch))
        return play(module_source), stages[0]


def over_a_changing_world(small: Small) -> Small:
    small.watch(RULES)
    small.world(ROWS, SELDOM, another_regime)
    return small


def another_regime(values: np.ndarray) -> None:
    """From some row on everything is larger and swings farther."""
    values[CHANGED:] = values[CHANGED:] * 2.5 + 30


def play(source: Any, hours: float = 48.0) -> Backtested:
    start = source.start + timedelta(days=FIRST)
    return backtest.fn("unit", start, None, hours)


def test_a_life_is_played_and_only_its_report_stays(small: Small) -> None:
    """Every night has a candidate and a decision; the watch's own lake and registry are left as they were."""
    done = play(small.source)
    assert [night.champion for night in done.nights][:2] == [None, 1]
    assert [night.version for night in done.nights] == list(range(1, len(done.nights) + 1))
    assert {night.decision for night in done.nights} == {"promoted", "refused"}
    assert all(a.when < b.when and a.rows < b.rows for a, b in zip(done.nights, done.nights[1:], strict=False))
    assert done.nights[-1].rows == ROWS
    assert any(night.drifted for night in done.nights)

    page = Path(unquote(urlparse(done.report).path))
    assert sorted(small.lake.list("")) == sorted(
        str(path.relative_to(small.folder / "home/lake")) for path in (page, page.with_suffix(".json"))
    )
    assert small.registry.versions("unit") == []
    assert not (small.folder / "home/backtests").exists()
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(done.model_dump_json())
    text = page.read_text()
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", text)
    assert all(f"version {night.version} {night.decision}" in text for night in done.nights)


def test_nobody_scores_rows_that_it_learnt_from(left: tuple[Backtested, Stage]) -> None:
    """The rows that a version has ever seen end before the rows that it is judged by here."""
    done, stage = left
    lake, registry = Lake(stage.lake), Registry(stage.registry)
    for since, _, version in champions_of(done.nights):
        registered = registry.get("unit-backtest", version)
        manifest = read_version(lake, folder_of(registered), registered.sha256).manifest
        ends = [row["end"] for row in lake.get_json(f"snapshots/unit-backtest/{manifest.snapshot}.json")["files"]]
        assert max(map(datetime.fromisoformat, ends)) < since


def test_the_life_is_judged_by_what_was_said_at_the_time(left: tuple[Backtested, Stage], module_source: Any) -> None:
    """Row by row, the score of whoever was champion when it came in, against the truth, night by night."""
    done, stage = left
    lake = Lake(stage.lake)
    said: dict[tuple[int, int], tuple[float, bool]] = {}
    for table in lake.get_tables(lake.list("scores/watch=unit-backtest/series=pump")):
        for row in table.to_pylist():
            said[row["version"], microseconds(row["timestamp"])] = row["score"], row["alarm"]
    events = read_labels(lake, lake.list("labels/watch=unit-backtest"))
    nights, labels, alarms = [], [], []
    for since, until, version in champions_of(done.nights):
        times = [microseconds(time) for time in map(module_source.time, range(ROWS)) if since <= time < until]
        label = label_samples(events, "pump", np.array(times))
        nights.append(metrics.vus_pr(label, np.array([said[version, time][0] for time in times])))
        alarms += [said[version, time][1] for time in times]
        labels += label.tolist()
    assert len(labels) == ROWS - FIRST * DAY
    assert sum(labels) == sum(6 for at in SELDOM if FIRST * DAY <= at < ROWS - 6)
    (lived,) = [row for row in done.rows if row.row == LIVED]
    assert lived.vus_pr == pytest.approx(np.mean(nights), abs=1e-12)
    f1 = metrics.point_metrics(np.array(labels, np.int8), np.array(alarms)).f1
    assert lived.f1 == pytest.approx(f1, abs=1e-12)


def test_beside_the_life_stands_the_first_version(left: tuple[Backtested, Stage], module_source: Any) -> None:
    """It is worse where the world changes; the difference is theirs, with its interval; alarms add up by night."""
    done, stage = left
    player = module_source.watch(name="unit-backtest")
    assert {row.row for row in done.rows} == {LIVED, KEPT, "trivial", "random"}
    lived, kept = done.mean(LIVED, "vus_pr"), done.mean(KEPT, "vus_pr")
    assert lived > kept > done.mean("random", "vus_pr")
    assert done.difference == pytest.approx(lived - kept)
    assert done.low < done.difference < done.high
    lives = judge_lives(Lake(stage.lake), Registry(stage.registry), player, done.nights)
    assert [night.alarms for night in done.nights] == lives.alarms[:, 0].tolist()
    assert len(lives.events) == sum(FIRST * DAY <= at < ROWS - 6 for at in SELDOM)


def test_a_gain_is_drawn_by_nights() -> None:
    """Series of one night are drawn together; nights that hold no anomaly are nobody's."""
    gains = [(1, 0.1), (1, 0.3), (4, -0.1)]
    mean, low, high = gain_of(gains, 2000, 0.9, seed=0)
    assert mean == pytest.approx(0.05)
    assert (low, high) == pytest.approx((-0.1, 0.2))
    assert all(map(math.isnan, gain_of([], 20, 0.9, seed=0)))


def test_nights_are_ranked_one_by_one() -> None:
    """A night whose scores lie on another scale changes nothing of the others; one without an anomaly has no figure."""
    label = np.array([0, 0, 1, 0, 0, 1, 0, 0, -1], np.int8)
    score = np.array([1.0, 2, 3, 100, 200, 300, 7, 8, 9])
    found = rank_by_night(label, score, np.array([1, 1, 1, 2, 2, 2, 3, 3, 3]))
    assert sorted(found) == [1, 2]
    assert found[1] == found[2]
    assert found[1]["auc_pr"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["live_day", "evaluate", "close_night", "conclude"])
def test_a_backtest_that_was_killed_goes_on(
    small: Small, killed: str, left: tuple[Backtested, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was played is not played again, and the end is the same as without the kill."""
    whole, _ = left
    module = importlib.import_module("flows.backtest")
    step, calls = getattr(module, killed), []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        done = step(*arguments) if killed == "live_day" else None  # what it did is there, and nobody was told of it
        if len(calls) == (1 if killed == "conclude" else 3):
            raise KeyboardInterrupt
        return done or step(*arguments)

    monkeypatch.setattr(module, killed, dies)
    with pytest.raises(KeyboardInterrupt):
        play(small.source)
    done = play(small.source)
    assert comparable(done) == comparable(whole)
    nights = len(whole.nights)
    assert len(calls) == (2 if killed == "conclude" else nights + 1)


def test_another_backtest_of_the_watch_begins_anew(small: Small) -> None:
    """What one with other nights has left is cleared away."""
    watch, home = _watch(), str(small.folder / "home")
    start = small.source.start + timedelta(days=FIRST)
    first = life.open_stage(home, watch, start, None, 48.0)
    assert life.open_stage(home, watch, start, None, 48.0) == first
    second = life.open_stage(home, watch, start, None, 90.0)
    assert (Path(first.folder).exists(), Path(second.folder).exists()) == (False, True)


def test_drift_sends_no_event(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replayed verdict would ask for a retrain, and asks nobody."""
    monkeypatch.setattr(check_drift, "emit", lambda _: pytest.fail("an event was sent"))
    small.watch(f"{RULES}consecutive = 1\n")
    assert any(night.asked_to_retrain for night in play(small.source, 96.0).nights)


def test_labels_that_came_with_the_data_only_answer_questions(small: Small) -> None:  # noqa: ARG001 - must be there
    """The player's labels are an oracle's, whatever the watch says; all else is the watch's own."""
    watch = _watch()
    player = life.played(watch)
    assert (watch.labels.imported, player.labels.imported) == ("known", "oracle")
    same = {"name": watch.name, "labels": watch.labels}
    assert player.model_copy(update=same) == watch


def test_nights_follow_one_another_and_end_with_the_rows() -> None:
    """The last one comes when the rows end, however long after the one before."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    day = timedelta(days=1)
    assert nights_between(begin, begin + 2.5 * day, day) == (begin, begin + day, begin + 2 * day, begin + 2.5 * day)
    assert nights_between(begin, begin + 2 * day, day) == (begin, begin + day, begin + 2 * day)
    with pytest.raises(DataError, match="a backtest of 1441 nights; wanted at most 1000"):
        nights_between(begin, begin + day, timedelta(minutes=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "garbage"], "--start garbage: not a time"),
        (["--start", "2027-01-01"], "a backtest from 2027-01-01 00:00 has no rows to play: they end 2026-01-25"),
        (["--until", "2020-01-01"], "watch unit: the source has no row to replay"),
        (["--start", "2026-01-05T01:00"], "watch unit-backtest: no series can be split"),
    ],
)
def test_bad_input_ends_in_one_line(
    small: Small,  # noqa: ARG001 - must be there
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line says what is wrong, with status 2."""
    monkeypatch.setattr("sys.argv", ["watchkeeper", "backtest", "--watch", "unit", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


def _watch() -> Watch:
    return load_watch("unit", load_settings().watches)


def microseconds(time: datetime) -> int:
    return int(time.timestamp() * 1e6)


def comparable(done: Backtested) -> dict[str, Any]:
    """A backtest without the time at which it was written down, and without where its watch lies."""
    return done.model_dump(exclude={"report"})
