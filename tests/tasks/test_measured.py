"""What a flow leaves for Prometheus."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.ingest import ingest
from flows.score import score
from tasks.measured import longest_pause_s, measured, of_result, of_run
from watchkeeper.errors import LakeError, VersionNotFoundError
from watchkeeper.lake import Lake
from watchkeeper.metrics import KINDS, Figure, read
from watchkeeper.questions import Answer, give_answers, open_questions
from watchkeeper.records import Decision, DriftCheck, Ingested, Refusal, Scored
from watchkeeper.watch import Watch

NOW = datetime(2026, 2, 1, 12, 7, tzinfo=UTC)
WATCH = Watch(name="tiny", source={"kind": "plant", "start": NOW})


def values(figures: list[Figure]) -> dict[str, float]:
    assert all(bool(figure.label) == bool(KINDS[figure.name].label) for figure in figures)
    names = [f"{figure.name.removeprefix('watchkeeper_')} {figure.label}".strip() for figure in figures]
    assert len(set(names)) == len(names)
    return dict(zip(names, (figure.value for figure in figures), strict=True))


def decision(**changes: Any) -> Decision:
    given = {"watch": "tiny", "action": "rolled back", "version": 2, "previous": 3, "who": "ann", "when": NOW}
    return Decision(**{**given, "reasons": ("a test",), **changes})


def test_an_ingest_counts_rows_files_and_reasons(lake: Lake) -> None:
    """New rows and not all rows; each reason of the quarantine apart."""
    done = Ingested(
        snapshot="1", rows=500, new_rows=40, quarantined={"late": 2, "infinite": 1},
        refused=(Refusal(origin="x", reason="y"),), warnings=(), findings={"stuck": 2, "gaps": 1},
    )  # fmt: skip
    assert values(of_result(lake, WATCH, done)) == {
        "rows_ingested": 40,
        "files_refused": 1,
        "rows_quarantined late": 2,
        "rows_quarantined infinite": 1,
        "quality_findings stuck": 2,
        "quality_findings gaps": 1,
        "label_queue_length": 0,
    }


def test_a_score_counts_rows_days_and_alarms_beside_the_budget(lake: Lake) -> None:
    """The days scored are what the budget is for."""
    done = Scored(watch="tiny", version=4, rows=2160, alarms=3, start=None, end=None, days=1.5)
    assert values(of_result(lake, WATCH, done)) == {
        "rows_scored": 2160,
        "days_scored": 1.5,
        "alarms": 3,
        "alarm_budget_per_day": 2.0,
        "champion_version": 4,
    }


def test_a_drift_check_tells_the_largest_share(lake: Lake) -> None:
    """Of all series, not of the last."""
    lake.put_json("reports/tiny/d/drift-1.json", {"series": {"a": {"share": 0.75}, "b": {"share": 0.25}}})
    done = DriftCheck(
        watch="tiny", version=4, when=NOW, until=NOW, exceeds=True, consecutive=1, started=False, reasons=(),
        report="", verdict=lake.uri_of("reports/tiny/d/drift-1.json"), event_id=None,
    )  # fmt: skip
    found = values(of_result(lake, WATCH, done))
    assert found == {"drift_share": 0.75, "drift_detected": 1, "retrains_asked": 0, "champion_version": 4}


def test_a_rollback_tells_who_is_champion_now(lake: Lake) -> None:
    """The version that it went back to, not the one before."""
    assert values(of_result(lake, WATCH, decision())) == {"gate_decisions rolled back": 1, "champion_version": 2}


def test_what_has_no_figures_gives_none(lake: Lake) -> None:
    """A flow that failed returned nothing."""
    assert of_result(lake, WATCH, None) == []


def test_every_outcome_has_a_counter_from_the_first_run() -> None:
    """Prometheus sees no increase in a counter that begins at one."""
    good, bad = (values(of_run("check-drift", WATCH, outcome, 2.5, NOW)) for outcome in ("success", "failure"))
    assert good == {
        "flow_runs success": 1,
        "flow_runs failure": 0,
        "flow_runs cancelled": 0,
        "flow_duration_seconds": 2.5,
        "last_success_timestamp_seconds": NOW.timestamp(),
        "schedule_seconds": 3600,
    }
    assert bad["flow_runs failure"] == 1
    assert "last_success_timestamp_seconds" not in bad


@pytest.mark.parametrize(
    ("cron", "seconds"),
    [
        ("*/15 * * * *", 900),
        ("0 2 * * *", 86_400),
        ("0 6-18 * * *", 12 * 3600),
        ("0 8 * * 1-5", 3 * 86_400),
        ("now and then", None),
    ],
)
def test_the_longest_pause_of_a_schedule(cron: str, seconds: float | None) -> None:
    """Nights and weekends count, also where the next firing is near."""
    assert longest_pause_s(cron, NOW) == seconds


# Through the flows


def left(folder: Path, flow: str) -> dict[str, float]:
    text = (folder / f"watchkeeper_tiny_{flow}.prom").read_text()
    found = read(text, "tiny", flow)
    return {f"{name.removeprefix('watchkeeper_')} {label}".strip(): value for (name, label), value in found.items()}


def test_a_flow_leaves_its_figures(home: Path, tmp_path: Path, monkeypatch) -> None:
    """Two runs of score: rows are counted once, runs twice, and the champion is named."""
    monkeypatch.setenv("WATCHKEEPER_METRICS", (tmp_path / "prom").as_uri())
    done = score.fn("tiny")
    score.fn("tiny")
    found = left(tmp_path / "prom", "score")
    assert home.exists()
    assert (found["rows_scored"], found["alarms"], found["days_scored"]) == (done.rows, done.alarms, 1.5)
    assert (found["flow_runs success"], found["flow_runs failure"]) == (2, 0)
    assert (found["champion_version"], found["schedule_seconds"]) == (1, 900)


def test_a_flow_that_fails_is_counted_and_fails_as_it_did(tiny_watches: Path, tmp_path: Path, monkeypatch) -> None:
    """The error stays the flow's; the time of the last success is not touched."""
    for name, value in {"HOME": tmp_path, "WATCHES": tiny_watches, "METRICS": (tmp_path / "prom").as_uri()}.items():
        monkeypatch.setenv(f"WATCHKEEPER_{name}", str(value))
    with pytest.raises(VersionNotFoundError):
        score.fn("tiny")
    found = left(tmp_path / "prom", "score")
    assert (found["flow_runs success"], found["flow_runs failure"]) == (0, 1)
    assert "last_success_timestamp_seconds" not in found


def test_metrics_that_cannot_be_kept_are_one_warning(home: Path, monkeypatch, caplog) -> None:
    """A gateway that is gone does not fail the flow."""
    monkeypatch.setenv("WATCHKEEPER_METRICS", "http://127.0.0.1:1")
    with caplog.at_level(logging.WARNING):
        assert ingest.fn("tiny").rows == 6 * 24 * 60
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage().startswith("no metrics of ingest of watch tiny: http://127.0.0.1:1 does not take them")
    assert "\n" not in warning.getMessage()
    assert home.exists()


def test_a_lake_that_fails_after_the_flow_is_a_warning_too(home: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    """What the flow has done is done, though its figures cannot be gathered."""
    monkeypatch.setenv("WATCHKEEPER_METRICS", (tmp_path / "prom").as_uri())

    def gone(*_: object) -> None:
        raise LakeError("the lake is gone")

    monkeypatch.setattr("tasks.measured.open_questions", gone)
    assert ingest.fn("tiny").rows == 6 * 24 * 60
    assert "the lake is gone" in caplog.text
    assert home.exists()


def test_a_watch_that_is_not_there_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """A misspelt name makes no figures that would ring for ever."""
    monkeypatch.setenv("WATCHKEEPER_METRICS", (tmp_path / "prom").as_uri())
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))

    @measured("look")
    def look(watch: str) -> str:
        return watch

    assert look(watch="nowhere") == "nowhere"
    assert not (tmp_path / "prom").exists()


def test_the_queue_is_told_as_long_as_it_is(home: Path, tmp_path: Path, monkeypatch) -> None:
    """Questions that people have answered are not counted."""
    monkeypatch.setenv("WATCHKEEPER_METRICS", (tmp_path / "prom").as_uri())
    lake = Lake((home / "lake").as_uri())
    item = {"series": "line_1", "reason": "top", "answer": None}
    windows = [{**item, "start": f"2026-01-06T0{hour}:00Z", "end": f"2026-01-06T0{hour}:25Z"} for hour in range(3)]
    lake.put_json(f"queue/tiny/{'e' * 32}.json", windows)
    found = open_questions(lake, "tiny")[0].question
    start, end = (int(time.timestamp() * 1_000_000) for time in (found.start, found.end))
    give_answers(lake, "tiny", [Answer("line_1", start, end, "unknown")], NOW, "ann")
    ingest.fn("tiny")
    assert left(tmp_path / "prom", "ingest")["label_queue_length"] == 2
