"""What the artifacts say, and when none is made. At a real server: tests/flows/test_pages.py."""

import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import artifacts
from tasks.artifacts import decision_page, drift_table, evaluation_table, key_of
from tasks.step import step
from watchkeeper.progress import listening, progress_of
from watchkeeper.records import Decision, Evaluation, Row

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
WATCH_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


def row(series: str, name: str, vus_pr: float | None) -> Row:
    return Row(
        series=series, row=name, vus_pr=vus_pr, auc_pr=0.25, best_f1=None, f1=0.5, event_recall=1.0, alarms_per_day=2.0
    )


@given(WATCH_NAMES, st.sampled_from(["decision", "train vae progress"]))
def test_a_key_is_one_that_prefect_takes(watch: str, kind: str) -> None:
    """Lowercase letters, digits and dashes, for every name that a watch may have, and always the same."""
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key_of(watch, kind))
    assert key_of(watch, kind) == key_of(watch, kind)


@given(WATCH_NAMES, WATCH_NAMES)
def test_two_watches_have_two_keys(one: str, other: str) -> None:
    """A name that differs only in signs that Prefect does not take has another key all the same."""
    assert (key_of(one, "drift") == key_of(other, "drift")) == (one == other)


def test_a_plain_name_stays_readable() -> None:
    """Nothing is added where nothing had to be replaced."""
    assert key_of("plant", "drift") == "plant-drift"
    assert re.fullmatch("pump-7-[0-9a-f]{6}-drift", key_of("Pump_7", "drift"))


def test_a_decision_says_verdict_reasons_and_evidence() -> None:
    """In this order; what is not there is not mentioned."""
    page = decision_page(
        Decision(
            watch="w", action="refused", version=4, previous=3, who="ann", when=NOW, reasons=("too weak", "too loud"),
            evidence={"evaluation": "runs/x", "drift report": None}, key="audit/w/1.json",
        )
    )  # fmt: skip
    assert page.splitlines() == [
        "# Version 4 refused",
        "",
        "- too weak",
        "- too loud",
        "",
        "By ann, 2026-02-01 12:00:00 UTC.",
        "The champion until then was version 3.",
        "",
        "- evaluation: `runs/x`",
        "- audit record: `audit/w/1.json`",
    ]


def test_an_evaluation_is_a_table_of_scorers_and_metrics() -> None:
    """The means come first; a figure that is not there stays empty and does not count in the mean."""
    rows = (row("a", "random", 0.1), row("a", "vae", 0.5), row("b", "random", None), row("b", "vae", 0.70004))
    found = Evaluation(
        key="k", truth="labels", start=NOW, end=NOW, rows=rows, against=None, difference=None, low=None, high=None
    )
    table = evaluation_table(found)
    assert [(line["series"], line["scorer"], line["vus_pr"]) for line in table] == [
        ("mean", "random", 0.1),
        ("mean", "vae", 0.6),
        ("a", "random", 0.1),
        ("a", "vae", 0.5),
        ("b", "random", None),
        ("b", "vae", 0.7),
    ]
    assert set(table[0]) == {"series", "scorer", *artifacts.METRICS}


def test_drift_is_a_table_of_channels_and_distances() -> None:
    """Each series' columns in the verdict's order, distances beside their limits."""
    column = {"moved": -2.68112, "limit": 0.4, "spread": 1.5, "spread_limit": 2.0, "reason": "moved"}
    verdict = {
        "a": {"columns": [{"column": "score", "drifted": True, **column}]},
        "b": {"columns": [{"column": "flow", "drifted": False, **column}]},
    }
    table = drift_table(verdict)
    assert [(line["series"], line["channel"], line["drifted"]) for line in table] == [
        ("a", "score", "yes"),
        ("b", "flow", "no"),
    ]
    assert (table[0]["moved (σ)"], table[0]["limit (σ)"], table[0]["reason"]) == (-2.6811, 0.4, "moved")


def test_outside_of_a_run_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine no server is asked, whatever a step returns and however long it takes."""

    def refuse(*_: object) -> None:
        raise AssertionError("a server was asked")

    monkeypatch.setattr(artifacts, "PAUSE_S", 0.0)
    for name in ("create_markdown_artifact", "create_table_artifact", "create_progress_artifact"):
        monkeypatch.setattr(f"prefect.artifacts.{name}", refuse)

    @step()
    def decide() -> Decision:
        progress_of("decide")(0.5, "half")
        return Decision(watch="w", action="refused", version=4, previous=3, who="ann", when=NOW, reasons=("weak",))

    assert decide().version == 4


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, step: str) -> None:
        self.lines.append(f"started {step}")

    def advanced(self, step: str, share: float, words: str) -> None:
        self.lines.append(f"advanced {step} {share} {words}")

    def finished(self, step: str, seconds: float, line: str) -> None:
        self.lines.append(f"finished {step} {seconds} {line}")

    def failed(self, step: str) -> None:
        self.lines.append(f"failed {step}")


def test_whoever_listened_before_hears_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The artifact stands beside the terminal's bar and not in its place; small steps forward are not all sent."""
    sent: list[tuple[float, str]] = []

    def create(percent: float, key: str, about: str) -> str:
        sent.append((percent, f"{key}: {about}"))
        return "id"

    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", create)
    monkeypatch.setattr(
        "prefect.artifacts.update_progress_artifact", lambda _, percent, about: sent.append((percent, about))
    )
    clock = iter([0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 5.0, 5.0, 6.0])
    monkeypatch.setattr(artifacts.time, "monotonic", lambda: next(clock))
    heard = Heard()
    shown = artifacts.Progress(heard, "tiny")
    shown.started("train vae")
    with listening(shown):
        for share in (0.1, 0.2, 0.3, 0.4):
            progress_of("train vae")(share, "epoch")
    shown.finished("train vae", 1.0, "done")
    assert [line.split()[0] for line in heard.lines] == ["started", *["advanced"] * 4, "finished"]
    assert sent == [
        (20.0, "tiny-train-vae-progress: train vae: epoch"),
        (40.0, "train vae: epoch"),
        (100.0, "train vae: done"),
    ]


@pytest.mark.parametrize(("flow", "key"), [("retrain", "plant-decision"), ("backtest", "plant-backtest-decision")])
def test_what_a_backtest_replays_stands_under_a_key_of_its_own(
    flow: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks for the watch's latest decision does not find one that was only played."""
    made: list[str] = []
    run = SimpleNamespace(parameters={"watch": "plant"}, flow=SimpleNamespace(name=flow))
    monkeypatch.setattr(artifacts, "FlowRunContext", SimpleNamespace(get=lambda: run))
    monkeypatch.setattr("prefect.artifacts.create_markdown_artifact", lambda _page, key, _about: made.append(key))
    decision = Decision(watch="plant", action="refused", version=4, previous=3, who="ann", when=NOW, reasons=("weak",))
    artifacts.publish(decision, None)
    assert made == [key]
