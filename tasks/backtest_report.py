"""The end of a backtest and its page: what the life was worth, how it went, and every night of it.

One HTML file that loads nothing. Everything that came from outside is escaped.
"""

import html
from datetime import UTC, datetime

from tasks.backtest import clear_stage, read_nights
from tasks.backtest_judge import KEPT, LIVED, Lives, gain_of, judge_lives
from tasks.backtest_plot import draw
from tasks.evaluation_report import METRICS, figures_table, legend
from tasks.held_out import RANDOM, TRIVIAL, finite
from tasks.html_page import document
from tasks.step import step
from watchkeeper.lake import Lake
from watchkeeper.records import Backtested, Night, Stage
from watchkeeper.registry import Registry
from watchkeeper.watch import Watch

NIGHT = ("night (UTC)", "rows", "champion", "alarms", "drift", "questions", "candidate", "VUS-PR", "champion's")

OWN_STYLE = """
h1 { background: #37474f; } .nights th, .nights td:first-child { white-space: nowrap; }
.nights td { border: 0; } .nights td.why { border-bottom: 1px solid #ddd; }
"""


@step()
def conclude(lake_uri: str, stage: Stage, watch: Watch, name: str) -> Backtested:
    """Judge the life, write the page and its JSON into the watch's own lake, and clear the stage.

    Args:
        lake_uri: the watch's own lake.
        stage: where the life was played.
        watch: the one that played.
        name: of the watch that it was played for.
    """
    nights = read_nights(stage)
    lives = judge_lives(Lake(stage.lake), Registry(stage.registry), watch, nights)
    gain, low, high = gain_of(lives.gains, watch.gate.resamples, watch.gate.level, watch.seed)
    stem = f"reports/{name}/{nights[-1].when:%Y-%m-%d}/backtest-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    lake = Lake(lake_uri)
    done = Backtested(
        watch=name,
        nights=tuple(nights),
        start=nights[0].when,
        end=nights[-1].when,
        rows=tuple(lives.rows),
        difference=finite(gain),
        low=finite(low),
        high=finite(high),
        report=lake.uri_of(f"{stem}.html"),
    )
    lake.put_json(f"{stem}.json", done.model_dump(mode="json"))
    lake.put(f"{stem}.html", page(done, lives, watch).encode())
    clear_stage(stage)
    return done


def page(done: Backtested, lives: Lives, watch: Watch) -> str:
    """Write the page.

    Args:
        done: the life and its figures.
        lives: the alarms by night and the events, for the picture.
        watch: the one that played, for its budgets.
    """
    title = html.escape(f"Backtest of watch {done.watch}: {done}")
    facts = [_verdict(done), _labels(done, watch), _drift(done)]
    said = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    rows = [(row, {metric: done.mean(row, metric) for metric in METRICS}) for row in (LIVED, KEPT, TRIVIAL, RANDOM)]
    nights = "".join(_night(night) for night in done.nights)
    head = "".join(f"<th>{name}</th>" for name in NIGHT)
    about = (
        f"Rows from {done.start:%Y-%m-%d %H:%M} to {done.end:%Y-%m-%d %H:%M} UTC, each scored before anything was "
        f"trained on it; mean over {lives.series} series. VUS-PR, AUC-PR and best F1 are means over the nights that "
        f"hold an anomaly, for versions have scales of their own; the others are over all rows."
    )
    parts = [
        f"<h1>{title}</h1><ul>{said}</ul>",
        f"<h2>What it was worth</h2><p>{about}</p>{figures_table(rows)}",
        f"<h2>How it went</h2>{draw(done.nights, lives, watch.alarms.budget_per_day)}",
        f'<h2>Nights</h2><div class="scroll"><table class="nights"><tr>{head}</tr>{nights}</table></div>',
        legend(),
    ]
    return document(title, parts, OWN_STYLE)


def _verdict(done: Backtested) -> str:
    if done.difference is None:
        return "nothing anomalous is known of these rows, so only the alarms can be judged"
    interval = "" if done.low is None or done.high is None else f" [{done.low:+.3f}, {done.high:+.3f}]"
    return f"retraining was worth {done.difference:+.3f}{interval} of VUS-PR a night, against keeping the first version"


def _labels(done: Backtested, watch: Watch) -> str:
    asked, answered = (sum(getattr(night, name) for night in done.nights) for name in ("questions", "answered"))
    return f"{asked} questions, {answered} answered from known truth, at most {watch.labels.budget} a retrain"


def _drift(done: Backtested) -> str:
    drifted = sum(bool(night.drifted) for night in done.nights)
    asked = sum(night.asked_to_retrain for night in done.nights)
    return f"drift in {drifted} of {len(done.nights) - 1} checks, {asked} of them would have asked for a retrain"


def _night(night: Night) -> str:
    drift = "–" if night.drifted is None else "yes" if night.drifted else "no"
    cells = [
        f"{night.when:%Y-%m-%d %H:%M}",
        f"{night.rows:,}",
        "–" if night.champion is None else str(night.champion),
        str(night.alarms),
        "asks for a retrain" if night.asked_to_retrain else drift,
        f"{night.answered} of {night.questions}",
        f"version {night.version} {night.decision}",
        _figure(night.vus_pr),
        _figure(night.against_vus_pr),
    ]
    style = ' class="own"' if night.decision == "promoted" else ""
    first = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    why = html.escape("; ".join(filter(None, [night.reason, night.remark])))
    return f'<tr{style}>{first}</tr><tr><td></td><td class="why dim" colspan="{len(cells) - 1}">{why}</td></tr>'


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
