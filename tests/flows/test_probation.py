"""Probation through the score flow: a good champion is confirmed, a wild one goes back, a changed world is not."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_watch import AGENT_OFF, DAY, Small, make_small

from tasks.promote import promote
from watchkeeper import promotion
from watchkeeper.lake import Lake
from watchkeeper.records import Decision, Retrained, Scored
from watchkeeper.registry import Registry, folder_of
from watchkeeper.settings import load_settings
from watchkeeper.watch import load_watch

ANOMALIES = dict.fromkeys(range(150, 4000, 211), 5.0)
TRAINED = 2400
RULE = AGENT_OFF + "[split]\nheld_out = 0.25\nhistory_days = 8\n[probation]\ndays = 2.0\n"


@pytest.fixture(scope="module")
def first_home(module_source: Any, tmp_path_factory: pytest.TempPathFactory, fresh_database: Path) -> Path:
    """A home with a first champion of the usual world."""
    with pytest.MonkeyPatch.context() as patch:
        small = make_small(module_source, tmp_path_factory.mktemp("first"), fresh_database, patch)
        small.watch(RULE)
        small.world(1200, ANOMALIES)
        small.retrain()
    return small.folder / "home"


@pytest.fixture
def small(source: Any, tmp_path: Path, first_home: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small watch, with that champion."""
    small = make_small(source, tmp_path, first_home, monkeypatch)
    small.watch(RULE)
    return small


def stuck_while_it_learns(values: np.ndarray) -> None:
    """One channel says nothing while the second version learns, and lives again afterwards."""
    values[1200:TRAINED, 2] = 20.0


def another_world(values: np.ndarray) -> None:
    """From the end of the second version's rows on, nothing is as any version knows it."""
    values[TRAINED:] = values[TRAINED:] * 4 + 200


def crown(small: Small) -> Retrained:
    """Train a second version and make it champion as the gate does, whatever the gate would say."""
    done = small.retrain()
    if done.decision.action != "promoted":
        decision = Decision(
            watch="unit", action="promoted", version=2, previous=1, who="ann", when=datetime.now(UTC),
            reasons=("a test",), evidence={"until": done.evaluation.end.isoformat()},
        )  # fmt: skip
        promotion.promote(small.lake, small.registry, decision)
    assert small.champion() == 2
    return done


def live(small: Small, rows: int, *changes: Any) -> Scored:
    """Let so many rows more come in and be scored."""
    from flows.ingest import ingest
    from flows.score import score

    small.world(TRAINED + rows, ANOMALIES, *changes)
    ingest.fn("unit")
    return score.fn("unit")


def told(small: Small) -> list[tuple[str, int, int | None]]:
    """What probation has put into the audit."""
    return [(one.action, one.version, one.previous) for one in small.audit() if one.who == "probation"]


def test_a_good_champion_is_confirmed_at_the_end_and_once(small: Small) -> None:
    """Nothing is recorded while it is on probation; what it did stands in the record of the end."""
    small.world(TRAINED, ANOMALIES)
    crown(small)
    live(small, DAY)
    assert told(small) == []
    live(small, 2 * DAY - 1)
    assert told(small) == []
    live(small, 2 * DAY)
    assert told(small) == [("confirmed", 2, 1)]
    live(small, 4 * DAY, another_world)
    assert told(small) == [("confirmed", 2, 1)]
    assert small.champion() == 2
    (record,) = [one for one in small.audit() if one.who == "probation"]
    assert record.evidence["seen"]["days"] == 2.0
    assert "its score stayed where it was" in record.reasons[0]


def test_a_champion_that_alarms_wildly_goes_back_by_itself(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alarm every two hours, where the version before has few on the same rows."""
    from tasks import score as module

    small.world(TRAINED, ANOMALIES)
    crown(small)
    whole = module.go_on

    def shout(*args: Any) -> Any:
        scored, rows, state = whole(*args)
        return scored and replace(scored, alarm=np.arange(len(rows)) % 12 == 0), rows, state

    monkeypatch.setattr(module, "go_on", shout)
    live(small, 2 * DAY)
    assert told(small) == [("rolled back", 1, 2)]
    assert small.champion() == 1
    why = small.audit()[-1].reasons[0]
    assert "24 alarms in 2 days of rows, at most 18 are to be expected; version 1 on the same rows: " in why


def test_a_champion_whose_scores_go_wild_goes_back_by_itself(small: Small) -> None:
    """Its record says who, why, and what the version before did on the same rows; the next run scores with that one."""
    small.world(TRAINED, ANOMALIES, stuck_while_it_learns)
    crown(small)
    assert live(small, 2 * DAY, stuck_while_it_learns).version == 2
    assert told(small) == [("rolled back", 1, 2)]
    assert small.champion() == 1
    record = small.audit()[-1]
    assert record.who == "probation"
    assert "champion again instead of version 2" in record.reasons[0]
    assert "version 1 on the same rows" in record.reasons[0]
    assert record.evidence["seen"]["series days"] == pytest.approx(2.0)
    scored = live(small, 2 * DAY, stuck_while_it_learns)
    assert (scored.version, told(small)) == (1, [("rolled back", 1, 2)])


def test_a_version_that_was_put_back_does_not_return_by_the_same_evidence(small: Small) -> None:
    """The same decision made again is a refusal; a person may bring it back, and probation leaves it then."""
    small.world(TRAINED, ANOMALIES, stuck_while_it_learns)
    done = crown(small)
    live(small, 2 * DAY, stuck_while_it_learns)
    settings = load_settings()
    watch = load_watch("unit", settings.watches)

    def again() -> Decision:
        return promote(
            settings.lake_uri, settings.registry_uri, watch, done.version, done.evaluation, "asked for", None
        )

    assert again().action == "refused"
    assert "its probation put version 1 back" in small.audit()[-1].reasons[0]
    assert small.champion() == 1
    promotion.rollback(small.lake, small.registry, "unit", 2, "I know better", "ann")
    live(small, 3 * DAY, stuck_while_it_learns)
    assert told(small) == [("rolled back", 1, 2)]
    assert small.champion() == 2
    assert again().action == "kept"


def test_a_changed_world_is_not_mended_by_a_rollback(small: Small) -> None:
    """Both versions leave the bounds on the same rows: said once while on probation, and at its end."""
    small.world(TRAINED, ANOMALIES)
    crown(small)
    live(small, DAY, another_world)
    live(small, DAY + 50, another_world)
    assert told(small) == [("kept", 2, 1)]
    record = small.audit()[-1]
    assert "no better, so the data have changed and a rollback would not help" in record.reasons[1]
    live(small, 3 * DAY, another_world)
    assert told(small) == [("kept", 2, 1), ("confirmed", 2, 1)]
    assert small.champion() == 2


def test_a_version_before_that_cannot_be_read_cannot_come_back(small: Small) -> None:
    """The champion stays, with the reason, rather than nobody scoring."""
    small.world(TRAINED, ANOMALIES, stuck_while_it_learns)
    crown(small)
    folder = folder_of(small.registry.get("unit", 1))
    small.lake.path(f"{folder}/detector.safetensors").write_bytes(b"damaged")
    live(small, DAY + 72, stuck_while_it_learns)
    assert told(small) == [("kept", 2, 1)]
    assert "version 1 cannot come back: " in small.audit()[-1].reasons[1]
    assert small.champion() == 2


@pytest.mark.parametrize("rule", ["", "days = 0\n"], ids=["first version", "switched off"])
def test_who_is_not_on_probation(small: Small, rule: str) -> None:
    """A first version has nothing to go back to, and a watch can do without."""
    if rule:
        small.watch(RULE.replace("days = 2.0\n", rule))
        small.world(TRAINED, ANOMALIES, stuck_while_it_learns)
        crown(small)
    live(small, 2 * DAY, stuck_while_it_learns)
    assert told(small) == []
    assert small.champion() == (2 if rule else 1)


class Killed(BaseException):
    """Ends a run where a kill would: nothing but a test catches it."""


def test_a_kill_between_any_two_steps_of_a_rollback_is_harmless(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the record, and after each alias: the next score run ends with the version before as champion."""
    small.world(TRAINED, ANOMALIES, stuck_while_it_learns)
    crown(small)
    strikes: list[str] = []
    write, move = promotion.write_audit, Registry.set_alias

    def write_and_die(lake: Lake, decision: Decision) -> Decision:
        kept = write(lake, decision)
        if "audit" not in strikes:
            strikes.append("audit")
            raise Killed
        return kept

    def move_and_die(self: Registry, watch: str, alias: str, version: int | None) -> None:
        move(self, watch, alias, version)
        if alias not in strikes:
            strikes.append(alias)
            raise Killed

    monkeypatch.setattr(promotion, "write_audit", write_and_die)
    monkeypatch.setattr(Registry, "set_alias", move_and_die)
    for champion in (2, 2, 1):
        with pytest.raises(Killed):
            live(small, 2 * DAY, stuck_while_it_learns)
        assert small.champion() == champion
    assert strikes == ["audit", "previous", "champion"]
    assert live(small, 2 * DAY, stuck_while_it_learns).version == 1
    aliases = {line.version: line.aliases for line in small.registry.versions("unit")}
    assert aliases == {1: ("champion",), 2: ("previous",)}
    assert set(told(small)) == {("rolled back", 1, 2)}
