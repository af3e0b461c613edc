"""The gate at full strength, through whole retrains: what takes over, what is refused, and what is left to read."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from small_watch import AGENT_OFF, DAY, Small, figures, make_small

SELDOM, SLOW = range(150, 3600, 211), range(140, 1000, 107)
"""First rows of quick anomalies, and the middles of slow ones."""


@pytest.fixture
def small(source: Any, tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small watch, in a home of its own."""
    return make_small(source, tmp_path, fresh_database, monkeypatch)


def page_of(decision: Any) -> Path:
    return Path(unquote(urlparse(decision.evidence["report"]).path))


def garbage(values: np.ndarray) -> None:
    """Broken sensors for a week, from row 1200 on."""
    rows = values[1200 : 1200 + 7 * DAY]
    rows[:] = np.random.default_rng(1).normal(20, 60, size=rows.shape)


def another_regime(values: np.ndarray) -> None:
    """From row 1200 on everything is larger and swings farther."""
    values[1200:] = values[1200:] * 2.5 + 30


def test_a_candidate_trained_on_a_week_of_garbage_is_refused(small: Small) -> None:
    """It is worse than the champion on the days after, and it no longer finds what the champion does."""
    small.world(1200, dict.fromkeys(SELDOM, 6.0))
    assert small.retrain().decision.action == "promoted"
    small.world(3600, dict.fromkeys(SELDOM, 6.0), garbage)
    done = small.retrain()
    assert done.decision.action == "refused"
    own, champion = figures(done.evaluation)
    assert own < champion
    told = "\n".join(done.decision.reasons)
    assert "of version 1" in told
    assert "past incidents, version 1 finds" in told
    assert "forgets pump 2026-01-07 12:10" in told
    assert small.champion() == 1
    assert [line.aliases for line in small.registry.versions("unit")] == [("challenger",), ("champion",)]


@pytest.mark.slow
def test_a_candidate_taught_the_opposite_is_refused(small: Small) -> None:
    """Flipped labels in the days that it learnt from; those that it is judged on are true."""
    small.watch("[agent]\nepisodes = 6\n[labels]\nbudget = 0\n[split]\nheld_out = 0.25\nhistory_days = 16\n")
    small.world(1200, dict.fromkeys(SELDOM, 3.0))
    assert small.retrain().decision.action == "promoted"
    small.world(3600, dict.fromkeys(SELDOM, 3.0), flip=slice(1200, 2600))
    done = small.retrain()
    assert done.decision.action == "refused"
    own, champion = figures(done.evaluation)
    assert own < champion - 0.05
    assert small.champion() == 1


def test_a_candidate_that_knows_more_of_the_new_regime_takes_over(small: Small) -> None:
    """The world has changed; who has seen more of it is better on the same days."""
    small.watch(AGENT_OFF + "[split]\nheld_out = 0.25\nhistory_days = 9\n")
    small.world(1200, dict.fromkeys(SELDOM, 5.0))
    small.retrain()
    small.world(2400, dict.fromkeys(SELDOM, 5.0), another_regime)
    done = small.retrain()
    assert (done.decision.action, done.decision.version, done.decision.previous) == ("promoted", 2, 1)
    own, champion = figures(done.evaluation)
    assert own > champion
    assert small.champion() == 2


def test_a_candidate_that_forgets_is_refused_though_it_is_better_on_the_held_out_days(small: Small) -> None:
    """Without the member that sees levels, slow faults of the past are lost; the latest faults were quick ones."""

    def slow_faults(values: np.ndarray) -> None:
        time = np.arange(len(values))
        for middle in SLOW:
            values += 40 * np.exp(-(((time - middle) / 20) ** 2))[:, None]

    anomalies = {middle - 3: 0.0 for middle in SLOW} | dict.fromkeys(range(1060, 1600, 97), 5.0)
    small.world(1200, anomalies, slow_faults)
    small.retrain()
    small.watch(AGENT_OFF, members='"ridge"')
    small.world(1600, anomalies, slow_faults)
    done = small.retrain()
    own, champion = figures(done.evaluation)
    assert own > champion
    assert done.decision.action == "refused"
    (told,) = done.decision.reasons
    assert told.startswith("not good enough: finds ")
    assert "forgets pump" in told
    assert small.champion() == 1
    forgotten = [one for one in done.evaluation.incidents if one.champion_found and not one.found]
    assert len(forgotten) >= 4


def test_a_candidate_with_the_champion_s_scores_is_refused(small: Small) -> None:
    """A tie keeps the champion: a new version that changes nothing is not worth a change."""
    small.world(1200, dict.fromkeys(SELDOM, 5.0))
    small.retrain()
    small.watch(AGENT_OFF + "[labels]\nbudget = 7\n")  # another run of the same detector: nothing asks without an agent
    done = small.retrain()
    own, champion = figures(done.evaluation)
    assert (done.version.version, own) == (2, champion)
    assert done.decision.action == "refused"
    assert done.decision.reasons == (f"not good enough: VUS-PR {own:.3f} against {own:.3f} of version 1",)
    assert small.champion() == 1


def test_each_decision_has_a_page_and_its_data_beside_it(small: Small) -> None:
    """Verdict and reasons on it, nothing to load from a network, the audit's record names it."""
    small.world(1200, dict.fromkeys(SELDOM, 5.0))
    small.retrain()
    small.world(3600, dict.fromkeys(SELDOM, 5.0), garbage)
    done = small.retrain()
    assert len(small.audit()) == 2
    for decision, verdict in zip(small.audit(), ("takes over", "refused"), strict=True):
        page = page_of(decision).read_text()
        assert f"Version {decision.version} of watch unit: {verdict}" in page
        for loads in ("src=", "href=", "url(", "@import", "<script"):
            assert loads not in page
        data = json.loads(page_of(decision).with_suffix(".json").read_text())
        assert data["decision"]["reasons"] == list(decision.reasons)
        assert data["evaluation"]["key"] == decision.evidence["evaluation"]
    page = page_of(done.decision).read_text()
    assert page.count("<svg") == 8
    assert "candidate misses it, champion finds it" in page
    assert "pump 2026-01-06 01:00" in page
    assert page_of(done.decision).parent.name == f"{done.evaluation.end:%Y-%m-%d}"
    assert len(page) < 300_000


def test_the_library_names_raw_rows_and_holds_none(small: Small) -> None:
    """Before the held-out rows; the files that it names are in the raw store."""
    small.world(1200, dict.fromkeys(SELDOM, 5.0))
    done = small.retrain()
    library = small.lake.get_json(done.evaluation.library)
    assert [one["start"] for one in library] == [
        f"{small.source.time(at):%Y-%m-%dT%H:%M:%SZ}" for at in (150, 361, 572, 783)
    ]
    for one in library:
        assert set(one) == {"series", "start", "end", "since", "files"}
        assert all(small.lake.exists(key) and key.startswith("raw/") for key in one["files"])
    assert [one.learnt for one in done.evaluation.incidents] == [True, True, True, False]  # 783 is in calibration rows


def test_evidence_of_another_champion_decides_nothing(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the champion changed between evaluation and decision, the candidate waits for the next retrain."""
    from flows import retrain as flow

    small.world(1200, dict.fromkeys(SELDOM, 5.0))
    small.retrain()
    small.world(1600, dict.fromkeys(SELDOM, 5.0))
    whole = flow.evaluate

    def stale(*args: Any) -> Any:
        return whole(*args).model_copy(update={"against": 7})

    monkeypatch.setattr(flow, "evaluate", stale)
    done = small.retrain()
    assert done.decision.action == "refused"
    assert done.decision.reasons == ("it was compared with version 7, and now version 1 is champion; retrain",)
    assert small.champion() == 1
