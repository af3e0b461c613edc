import getpass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from watchkeeper import promotion
from watchkeeper.errors import RegistryError, VersionNotFoundError
from watchkeeper.lake import Lake
from watchkeeper.records import Decision
from watchkeeper.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Story:
    """A watch with three versions, and shorthands for what happens to them."""

    def __init__(self, lake: Lake, registry: Registry, watch: str, version: Path) -> None:
        self.lake, self.registry, self.watch = lake, registry, watch
        for number in range(3):
            registry.register(watch, f"run-{number}", version, "x", parameters={}, metrics={}, history=[], tags={})

    def decision(self, version: int, action: str = "promoted") -> Decision:
        champion = self.registry.alias(self.watch, CHAMPION)
        return Decision(
            watch=self.watch,
            action=action,
            version=version,
            previous=champion.version if champion else None,
            who="ann",
            when=NOON + timedelta(hours=len(self.audit())),
            reasons=("it is better",),
            evidence={"evaluation": f"runs/{version}"},
        )

    def promote(self, version: int) -> Decision:
        return promotion.promote(self.lake, self.registry, self.decision(version))

    def rollback(self, to: int | None = None, who: str | None = "bob") -> Decision:
        return promotion.rollback(self.lake, self.registry, self.watch, to, "it slept", who)

    def aliases(self) -> tuple[int | None, ...]:
        """Champion, challenger, previous."""
        found = (self.registry.alias(self.watch, name) for name in (CHAMPION, CHALLENGER, PREVIOUS))
        return tuple(version.version if version else None for version in found)

    def audit(self) -> list[Decision]:
        return promotion.read_audit(self.lake, self.watch)


@pytest.fixture
def story(registry: Registry, lake: Lake, tmp_path: Path) -> Story:
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "manifest.json").write_text("{}")
    return Story(lake, registry, tmp_path.name, tmp_path / "version")


def test_promotion_upon_promotion(story: Story) -> None:
    """The old champion is kept as previous, and a champion is no challenger any more."""
    assert story.aliases() == (None, 3, None)
    story.promote(1)
    assert story.aliases() == (1, 3, None)
    story.promote(2)
    assert story.aliases() == (2, 3, 1)
    story.promote(3)
    assert story.aliases() == (3, None, 2)


def test_rollback_returns_to_the_previous_champion_and_back(story: Story) -> None:
    """What was rolled back from is previous, so a second rollback undoes the first."""
    story.promote(1)
    story.promote(2)
    decision = story.rollback()
    assert (decision.version, decision.previous, decision.action) == (1, 2, "rolled back")
    assert story.aliases() == (1, 3, 2)
    assert story.rollback().version == 2
    assert story.aliases() == (2, 3, 1)


def test_rollback_to_a_number(story: Story) -> None:
    """Any version can be named, a challenger too."""
    story.promote(1)
    story.promote(2)
    assert story.rollback(to=3).version == 3
    assert story.aliases() == (3, None, 2)


@pytest.mark.parametrize(
    ("promoted", "to", "message"),
    [
        ([], None, "has no champion to roll back from; run `watchkeeper retrain` first"),
        ([], 1, "has no champion to roll back from"),
        ([1], None, "has no previous champion: version 1 is the first; name one with --to"),
        ([1], 9, "has no version 9; it has: 1, 2, 3"),
        ([1, 2], 2, "version 2 of watch .* is champion already"),
    ],
)
def test_a_rollback_to_nowhere_changes_nothing(story: Story, promoted: list[int], to: int | None, message: str) -> None:
    """Neither an alias moves nor is a record left."""
    for version in promoted:
        story.promote(version)
    before = story.aliases()
    with pytest.raises(VersionNotFoundError, match=message):
        story.rollback(to)
    assert story.aliases() == before
    assert len(story.audit()) == len(promoted)


def test_each_decision_leaves_one_record(story: Story) -> None:
    """Promotion, refusal and rollback: who, why, from, to and the evidence, oldest first."""
    returned = [story.promote(1), story.promote(2)]
    returned.append(promotion.refuse(story.lake, story.decision(3, "refused")))
    returned.append(story.rollback())
    audit = story.audit()
    assert audit == returned
    assert [(one.action, one.previous, one.version, one.who) for one in audit] == [
        ("promoted", None, 1, "ann"),
        ("promoted", 1, 2, "ann"),
        ("refused", 2, 3, "ann"),
        ("rolled back", 2, 1, "bob"),
    ]
    assert audit[1].evidence == {"evaluation": "runs/2"}
    assert audit[1].reasons == ("it is better",)
    assert audit[3].reasons == ("champion again instead of version 2: it slept",)
    assert [story.lake.exists(one.key) for one in audit] == [True] * 4
    assert story.aliases() == (1, 3, 2)


def test_a_refusal_moves_no_alias(story: Story) -> None:
    """The candidate stays challenger."""
    story.promote(1)
    promotion.refuse(story.lake, story.decision(3, "refused"))
    assert story.aliases() == (1, 3, None)


def test_who_is_the_account_unless_said(story: Story) -> None:
    """A rollback from the command line has a name to it."""
    story.promote(1)
    assert story.rollback(to=2, who=None).who == getpass.getuser()


@pytest.mark.parametrize("alias", [PREVIOUS, CHAMPION])
def test_a_move_that_fails_leaves_a_record_that_says_so(
    story: Story, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion is the old one, and the audit shows the decision and its failure."""
    from mlflow.exceptions import MlflowException

    story.promote(1)
    client = story.registry._client
    whole = client.set_registered_model_alias

    def fail(watch: str, name: str, version: str) -> Any:
        if name == alias:
            raise MlflowException("database is locked")
        return whole(watch, name, version)

    monkeypatch.setattr(client, "set_registered_model_alias", fail)
    with pytest.raises(RegistryError, match=f"cannot move the alias {alias} .*database is locked"):
        story.promote(2)
    assert story.aliases()[0] == 1
    failed = story.audit()[-1]
    assert sorted(one.action for one in story.audit()) == ["failed", "promoted", "promoted"]
    assert (failed.action, failed.version, failed.previous, failed.who) == ("failed", 2, 1, "ann")
    assert "promoted did not take effect: " in failed.reasons[0]
    assert "database is locked" in failed.reasons[0]


def test_the_record_is_there_before_the_alias_moves(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """An effect without its decision cannot be, even if the process is killed in between."""
    seen: list[int] = []
    whole = Registry.set_alias

    def look(self: Registry, watch: str, alias: str, version: int | None) -> None:
        seen.append(len(story.audit()))
        whole(self, watch, alias, version)

    monkeypatch.setattr(Registry, "set_alias", look)
    story.promote(1)
    assert seen[0] == 1


def test_without_a_record_nothing_moves(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake that cannot be written keeps the champion as it is."""
    story.promote(1)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Exception, match="No space left"):
        story.promote(2)
    assert story.aliases()[0] == 1


@pytest.mark.parametrize("strikes", [1, 2, 3])
def test_a_kill_between_two_moves_leaves_a_registry_that_serves(
    story: Story, strikes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it strikes there is a champion, and the same promotion done again ends as it should."""
    story.promote(1)
    story.promote(2)
    decision = story.decision(3)
    whole, calls = Registry.set_alias, []

    def kill(self: Registry, watch: str, alias: str, version: int | None) -> None:
        calls.append(alias)
        if len(calls) == strikes:
            raise KeyboardInterrupt
        whole(self, watch, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", kill)
        with pytest.raises(KeyboardInterrupt):
            promotion.promote(story.lake, story.registry, decision)
    assert story.aliases()[0] == (3 if strikes == 3 else 2)
    promotion.promote(story.lake, story.registry, decision)
    assert story.aliases() == (3, None, 2)


def audit_of(*told: tuple[str, int, int | None, str]) -> list[Decision]:
    """Decisions (action, version, previous, who), oldest first."""
    return [
        Decision(
            watch="w", action=action, version=version, previous=previous, who=who, when=NOON + timedelta(hours=at),
            reasons=(), key=str(at),
        )
        for at, (action, version, previous, who) in enumerate(told)
    ]  # fmt: skip


def test_the_crowning_is_the_latest_decision_that_made_a_version_champion() -> None:
    """Neither a refusal nor a confirmation crowns; a promotion repeated after a kill counts as the later one."""
    audit = audit_of(
        ("promoted", 1, None, "ann"),
        ("promoted", 2, 1, "ann"),
        ("promoted", 2, 1, "ann"),
        ("refused", 3, 2, "ann"),
        ("confirmed", 2, 1, "probation"),
        ("rolled back", 1, 2, "ann"),
    )
    found = {version: promotion.crowning(audit, version) for version in (1, 2, 3)}
    assert {version: one and one.key for version, one in found.items()} == {1: "5", 2: "2", 3: None}


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ([], None),
        ([("rolled back", 1, 2, "probation")], "0"),
        ([("rolled back", 1, 2, "ann")], None),  # a person's rollback speaks of that day alone
        ([("rolled back", 1, 3, "probation")], None),
        ([("rolled back", 1, 2, "probation"), ("refused", 2, 1, "ann")], "0"),
        ([("rolled back", 1, 2, "probation"), ("rolled back", 2, 1, "ann")], None),
        ([("rolled back", 1, 2, "probation"), ("promoted", 3, 1, "ann"), ("rolled back", 1, 3, "ann")], "0"),
    ],
)
def test_what_a_probation_put_back_stays_so_until_a_person_brings_it_again(
    told: list[tuple[str, int, int | None, str]], key: str | None
) -> None:
    """For version 2."""
    found = promotion.put_back(audit_of(*told), 2)
    assert (found and found.key) == key


def test_a_rollback_carries_its_evidence(story: Story) -> None:
    """What a probation saw stands in the record."""
    story.promote(1)
    promotion.rollback(story.lake, story.registry, story.watch, 2, "wild", "probation", {"seen": {"alarms": 99}})
    assert story.audit()[-1].evidence == {"seen": {"alarms": 99}}
    assert story.rollback().evidence == {}
