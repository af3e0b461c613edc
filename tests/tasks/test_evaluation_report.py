"""The page of a decision: what stands on it, that it loads nothing, and that names from outside stay words."""

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from tasks.evaluation_plot import HIGHEST, draw
from tasks.evaluation_report import page
from tasks.splits import Metadata, PartRows, SeriesParts
from tasks.traces import HELD_OUT, PAST, Rank, Trace
from watchkeeper.records import Decision, Evaluation, IncidentResult, Row

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>&\"'</svg>"
SVG = "{http://www.w3.org/2000/svg}"


class Outline(HTMLParser):
    """The tags of a page, and whether each is closed in its turn."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - its signature
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the same
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def row(name: str, series: str = "pump", **figures: float) -> Row:
    empty = dict.fromkeys(("vus_pr", "auc_pr", "best_f1", "f1", "event_recall", "alarms_per_day"))
    return Row(series=series, row=name, **{**empty, **figures})


def incident(found: bool, champion: bool | None, day: int, **changes: Any) -> IncidentResult:
    at = NOON - timedelta(days=day)
    about = {"series": "pump", "learnt": False, "comparable": True, **changes}
    return IncidentResult(
        start=at, end=at + timedelta(hours=1), found=found, delay_s=300.0 if found else None, champion_found=champion,
        champion_delay_s=0.0 if champion else None, **about,
    )  # fmt: skip


def trace(kind: str = HELD_OUT, champion: bool = True, name: str = "flow") -> Trace:
    time = NOON.timestamp() * 1e6 + np.arange(300, dtype=np.int64) * 60_000_000
    values = np.stack([np.sin(np.arange(300)), np.full(300, 7.0), np.full(300, np.nan)], axis=1).astype(np.float32)
    values[10:20, 0] = np.nan
    values[15, 0] = 0.5  # alone between two holes
    arrays = {"time": time.astype(np.int64), "values": values, "own": np.linspace(0, 40, 300)}
    if champion:
        arrays["champion"] = np.linspace(0, 0.5, 300)
    about = {
        "kind": kind, "series": name, "start": int(time[100]), "end": int(time[150]), "channels": [name, "b", "c"],
        "found": True, "champion_found": False if champion else None,
    }  # fmt: skip
    return Trace(about, arrays, Rank(True, 1.0))


def evaluation(**changes: Any) -> Evaluation:
    rows = (
        row("combination", vus_pr=0.7, delay_s=120.0, point_adjusted_f1=0.95),
        row("champion", vus_pr=0.6),
        row("random", vus_pr=0.1, point_adjusted_f1=0.92),
        row("trivial", vus_pr=0.2),
        row("vae", vus_pr=0.65),
    )
    about = {
        "key": "runs/unit/e", "truth": "labels", "start": NOON, "end": NOON + timedelta(days=3), "rows": rows,
        "against": 1, "difference": 0.1, "low": 0.0, "high": 0.2,
    }  # fmt: skip
    return Evaluation(**{**about, **changes})


def decision(**changes: Any) -> Decision:
    about = {
        "watch": "unit", "action": "refused", "version": 2, "previous": 1, "who": "ann", "when": NOON,
        "reasons": ("not good enough: it sleeps",), "evidence": {"retrain": "drift"},
    }  # fmt: skip
    return Decision(**{**about, **changes})


def metadata(series: str = "pump") -> Metadata:
    stretches = (("train", 0, 7000), ("gap", 7000, 7010), ("calibration", 7010, 8490), ("held_out", 8500, 10000))
    parts = tuple(
        PartRows(
            part=name, first=first, stop=stop, start=NOON + timedelta(minutes=first),
            end=NOON + timedelta(minutes=stop - 1), labels={"anomalous": 3, "normal": stop - first - 3, "unknown": 0},
        )
        for name, first, stop in stretches
    )  # fmt: skip
    return Metadata(
        watch="unit", snapshot="000001-a", code="c0de", window=10, gap=10, split={"held_out": 0.15},
        channels=("a",), features=(),
        interval_s=60.0, series={series: SeriesParts(earlier=0, rows=10000, interval_s=60.0, parts=parts)}, left_out=(),
    )  # fmt: skip


def read(text: str) -> Outline:
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    return outline


def test_the_verdict_comes_first_with_its_reasons() -> None:
    """Then the held-out rows: candidate and champion above, floors below."""
    found = read(page(decision(), evaluation(), []))
    words = [found.text.index(word) for word in ("refused", "it sleeps", "Held-out rows", "Past incidents")]
    assert words == sorted(words)
    table = found.text[found.text.index("Held-out rows") :]
    order = [table.index(word) for word in ("candidate", "champion", "vae", "trivial row", "random row")]
    assert order == sorted(order)
    assert "decided 2026-01-05 12:00:00 UTC by ann (retrain: drift)" in found.text
    assert "2.000" in table  # the delay, in minutes
    assert "takes over" in page(decision(action="promoted"), evaluation(), [])


def test_point_adjusted_f1_stands_beside_its_random_row_alone() -> None:
    """Noise scores 0.92 in it."""
    text = read(page(decision(), evaluation(), [])).text
    assert text.count("point-adjusted") == 1
    assert "point-adjusted F1: candidate 0.950, random row 0.920" in text


def test_the_page_says_which_rows_went_where() -> None:
    """Part by part with times, rows and labels; without the metadata it says nothing."""
    text = read(page(decision(), evaluation(), [], metadata())).text
    assert "pumptrain2026-01-05 12:002026-01-10 08:397,00036,9970" in text
    assert "pumpheld out2026-01-11 09:402026-01-12 10:391,50031,4970" in text
    assert "Which rows were trained on" in text
    assert "Which rows were trained on" not in page(decision(), evaluation(), [])
    assert "<script" not in page(decision(), evaluation(), [], metadata(HOSTILE))


def test_incidents_that_one_alone_finds_are_shown_and_the_others_folded_away() -> None:
    """With what makes each of them count, or not."""
    incidents = (
        incident(False, True, 9),
        incident(True, False, 8, learnt=True),
        incident(True, True, 7),
        incident(False, True, 6, comparable=False),
    )
    text = page(decision(), evaluation(incidents=incidents), [])
    shown, folded = text.split("All past incidents")
    assert "The candidate finds 2 of 4." in shown
    assert shown.count('<tr class="lost">') == folded.count('<tr class="lost">') == 1
    for day, where in ((9, shown), (8, shown), (6, shown), (7, folded)):
        assert f"pump {NOON - timedelta(days=day):%Y-%m-%d %H:%M}" in where
    assert f"{NOON - timedelta(days=7):%Y-%m-%d}" not in shown
    assert "trained on, with its label" in shown
    assert "from another world: does not count" in shown
    assert "found after 5 min" in shown


def test_names_from_outside_stay_words() -> None:
    """Series, channels, people, reasons and notes: none of them becomes a tag."""
    hostile = evaluation(
        rows=(row("combination", HOSTILE, vus_pr=0.5), row(HOSTILE, HOSTILE, vus_pr=0.5)),
        incidents=(incident(False, True, 1, series=HOSTILE),), notes=(HOSTILE,), truth=HOSTILE, key=HOSTILE,
    )  # fmt: skip
    said = decision(reasons=(HOSTILE,), who=HOSTILE, evidence={"retrain": HOSTILE})
    text = page(said, hostile, [trace(name=HOSTILE), trace(PAST, False, HOSTILE)])
    assert "<script" not in text
    assert read(text).tags.count("script") == 0
    assert HOSTILE in read(text).text


def test_the_page_loads_nothing() -> None:
    """No address is in it but the name of SVG itself."""
    text = page(decision(), evaluation(incidents=(incident(True, True, 1),)), [trace(), trace(PAST, champion=False)])
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & set(read(text).tags)
    assert "url(" not in text


def test_without_incidents_and_pictures_the_page_says_so() -> None:
    """A first version of a young watch."""
    text = page(decision(action="promoted", previous=None), evaluation(against=None, rows=()), [])
    assert "The library has none before the held-out rows." in text
    assert "compared with no champion" in text
    assert "<svg" not in text


@pytest.mark.parametrize("champion", [True, False])
def test_a_picture_is_well_formed_and_stays_inside_its_frame(champion: bool) -> None:
    """Three channels and one or two scores; holes break a line, and a value alone is a dot."""
    root = ET.fromstring(draw(trace(champion=champion)))  # noqa: S314 - our own picture
    _, _, width, height = (float(value) for value in root.attrib["viewBox"].split())
    paths = [path.attrib["d"] for path in root.iter(f"{SVG}path")]
    assert len(paths) == 4 + champion
    flow, constant, missing, own, *_ = paths
    assert flow.count("M") == 3
    assert constant.count("M") == 1
    assert missing == ""
    for path in paths:
        numbers = np.array([pair.split(",") for pair in path.replace("M", " ").split()], dtype=float).reshape(-1, 2)
        assert ((numbers >= 0) & (numbers <= [width, height])).all()
    assert "nan" not in "".join(paths)
    heights = [float(pair.split(",")[1]) for pair in own.removeprefix("M").split()]
    assert heights[-1] == min(heights)  # upwards is higher
    limit = float(next(root.iter(f"{SVG}line")).attrib["y1"])
    crossing = int(np.argmax(np.linspace(0, 40, 300) >= 1))
    assert heights[crossing] <= limit + 0.1 < heights[crossing - 1] + 0.2
    assert heights.count(heights[-1]) > 200 / HIGHEST  # cut where it is far above


def test_the_shaded_event_lies_between_its_rows() -> None:
    """From row 100 to row 150 of 300."""
    root = ET.fromstring(draw(trace()))  # noqa: S314 - the same
    shaded = next(rect for rect in root.iter(f"{SVG}rect") if "fill-opacity" in rect.attrib)
    frame = next(rect for rect in root.iter(f"{SVG}rect") if rect.attrib.get("class") == "frame")
    left, whole = float(frame.attrib["x"]), float(frame.attrib["width"])
    assert (float(shaded.attrib["x"]) - left) / whole == pytest.approx(100 / 299, abs=0.001)
    assert float(shaded.attrib["width"]) / whole == pytest.approx(50 / 299, abs=0.001)
