"""Score runs go on from the state that the run before left."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.evaluate import evaluate
from tasks.ingest import ingest
from tasks.prepare import prepare
from tasks.register import register
from tasks.score import score
from tasks.train_vae import train_vae
from watchkeeper import promotion
from watchkeeper.lake import Lake
from watchkeeper.records import Decision
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

ROWS, MORE, MOST = 1200, 1203, 1500
STATES, SCORES = "states/watch=unit", "scores/watch=unit"


class House:
    """A watch with a champion that has not scored yet."""

    def __init__(self, folder: Path, source: Any, watch: Watch) -> None:
        self.lake, self.registry = Lake((folder / "lake").as_uri()), f"sqlite:///{folder / 'registry.db'}"
        self.source, self.watch = source, watch

    def crown(self) -> None:
        record = prepare(self.lake.uri, self.watch, ingest(self.lake.uri, self.watch).snapshot)
        candidate = train_vae(self.lake.uri, self.watch, record, "cpu", 1)
        evaluation = evaluate(self.lake.uri, self.registry, self.watch, record, candidate)
        made = register(self.lake.uri, self.registry, self.watch, record, candidate, evaluation)
        decision = Decision(
            watch="unit", action="promoted", version=made.version, previous=None, who="ann",
            when=datetime(2026, 1, 5, tzinfo=UTC), reasons=(),
        )  # fmt: skip
        promotion.promote(self.lake, Registry(self.registry), decision)

    def take_in(self, rows: int) -> None:
        self.source.write("s", self.source.table(rows))
        ingest(self.lake.uri, self.watch)

    def score(self) -> int:
        return score(self.lake.uri, self.registry, self.watch).rows

    def scores(self) -> pa.Table:
        return pa.concat_tables(self.lake.get_table(key) for key in self.lake.list(SCORES)).sort_by("timestamp")


@pytest.fixture
def house(source: Any, tmp_path: Path, fresh_database: Path) -> House:
    (tmp_path / "home").mkdir()
    shutil.copy(fresh_database, tmp_path / "home")
    source.write("s", source.table(ROWS))
    watch = source.watch(gate={"resamples": 20}, members=("norm", "pca", "ridge", "quiet"))
    made = House(tmp_path / "home", source, watch)
    made.crown()
    return made


def test_three_runs_score_as_one_to_the_last_bit(house: House, tmp_path: Path) -> None:
    """Rows that come one by one, in pieces or at once: the same scores, thresholds, alarms and contributions."""
    shutil.copytree(tmp_path / "home", tmp_path / "other")
    other = House(tmp_path / "other", house.source, house.watch)
    assert house.score() == ROWS // 4
    for rows in (MORE, MOST):
        house.take_in(rows)
        assert house.score() > 0
    other.take_in(MOST)
    assert other.score() == ROWS // 4 + MOST - ROWS
    assert house.scores().equals(other.scores())


def test_one_state_a_series_is_kept(house: House) -> None:
    house.score()
    (first,) = house.lake.list(STATES)
    assert house.score() == 0
    assert house.lake.list(STATES) == [first]
    house.take_in(MORE)
    house.score()
    (second,) = house.lake.list(STATES)
    assert second != first


@pytest.mark.parametrize("damage", ["lost", "damaged"])
def test_without_a_state_the_rows_before_bring_it_about(house: House, damage: str) -> None:
    """A state saves work and nothing rests on it."""
    house.score()
    (key,) = house.lake.list(STATES)
    house.lake.delete(key)
    if damage == "damaged":
        house.lake.put(key, b"no state")
    house.take_in(MORE)
    assert house.score() == MORE - ROWS
    assert len(house.scores()) == ROWS // 4 + MORE - ROWS


def test_a_run_that_dies_before_its_scores_is_done_again_as_if_nothing_was(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The state of the run before is there until all scores are."""
    house.score()
    house.take_in(MORE)
    shutil.copytree(tmp_path / "home", tmp_path / "other")
    other = House(tmp_path / "other", house.source, house.watch)
    other.score()

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.score.write_scores", die)
        with pytest.raises(KeyboardInterrupt):
            house.score()
    house.score()
    assert house.scores().equals(other.scores())
