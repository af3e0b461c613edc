"""What a look at files of line protocol finds, and that the watch written from it takes in what was reported."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.ingest import ingest
from tasks.look import Choice
from tasks.look.found import Found
from tasks.look.look import look
from tasks.look.writer import write_watch
from watchkeeper.errors import DataError
from watchkeeper.watch import Watch, load_watch

NOW = datetime(2026, 2, 1, tzinfo=UTC)
SECOND = 1_767_571_200
ROWS = 400


def pumps(unit: int = 10**9) -> str:
    """Two pumps, a reading a minute: a wave, a switch, words, and labels."""
    return "".join(
        f'pump,site=x,unit={pump} flow={at % 13 / 8},on={"t" if at % 7 else "f"},note="fine",score={at}i,'
        f"is_anomaly={int(100 <= at < 110)}i {(SECOND + 60 * at) * unit}\n"
        for at in range(ROWS)
        for pump in ("p 1".replace(" ", "\\ "), "p2")
    )


def found_in(folder: Path, text: str, name: str = "all.lp", **choice: Any) -> Found:
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return look(str(folder), Choice(**choice), NOW)


def taken_in(found: Found, folder: Path) -> tuple[Watch, int]:
    """Write the watch file, load it, and ingest: the watch and its rows."""
    (folder / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    watch = load_watch("w", folder)
    done = ingest((folder / "lake").as_uri(), watch)
    assert (done.refused, done.quarantined) == ((), found.quarantined)
    return watch, done.rows


@pytest.mark.parametrize(("precision", "unit"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_tags_fields_and_the_unit_of_the_clock_are_found(tmp_path: Path, precision: str, unit: int) -> None:
    """The tag that differs names the series; words are left out; a name of our own is changed."""
    found = found_in(tmp_path, pumps(unit))
    watch, rows = taken_in(found, tmp_path)
    assert (rows, found.rows, found.series, found.whole) == (2 * ROWS, 2 * ROWS, ("p2", "p_1"), True)
    assert (found.labelled, found.anomalous) == (2 * ROWS, 20)
    keys = watch.source.model_dump(exclude_unset=True)
    keys.setdefault("precision", "ns")
    assert keys == {
        "kind": "lines", "folder": str(tmp_path), "precision": precision, "measurement": ("pump",), "series": ("unit",),
        "label": "is_anomaly", "rename": {"score": "score_reading"}, "ignore": ("note",),
    }  # fmt: skip
    assert watch.channels == ("flow", "on", "score_reading")


def test_packed_files_name_their_series(tmp_path: Path) -> None:
    """Where no tag differs."""
    one = "".join(line + "\n" for line in pumps().split("\n") if "p2" in line)
    found_in(tmp_path, one, "a.line.gz")
    found = found_in(tmp_path, one, "b.line.gz")
    watch, rows = taken_in(found, tmp_path)
    assert (rows, found.series) == (2 * ROWS, ("a", "b"))
    assert watch.source.files == "*.line.gz"  # type: ignore[union-attr] # it is a folder's


def test_a_large_export_shows_its_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has one field behind another, and not all of them at its head."""
    for module, name, value in (("lines", "PROBE", 256), ("text", "BUDGET", 4_000), ("text", "LEAST", 4_000)):
        monkeypatch.setattr(f"tasks.look.{module}.{name}", value)
    text = "".join(f"m f{field}={at} {SECOND + at}\n" for field in range(6) for at in range(1000))
    found = found_in(tmp_path, text)
    assert not found.whole
    assert [one.name for one in found.channels] == [f"f{field}" for field in range(6)]
    assert ingest((tmp_path / "lake").as_uri(), Watch(name="w", source=found.source)).rows == 1000


TWO = "cpu,host=a x=1 1767571200\nmem,host=a y=1 1767571200\n"
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "measurements": (TWO, {}, "holds the measurements cpu, mem; choose one with --table"),
    "table": (TWO, {"table": "disk"}, "holds the measurements cpu, mem; choose one with --table"),
    "no lines": ("a,b\n1,2\n", {}, "all.lp holds no line of line protocol"),
    "no time": ("m a=1\n", {}, "no line of m has a timestamp"),
    "words": ('m a="x" 1\n', {}, "no field holds numbers"),
    "label": ("m a=7,b=1 1\n", {"label": "a"}, "field a is no label"),
    "series": ("m,u=x a=7 1\n", {"series": "v"}, "no tag is called v; there are u"),
    "clock": ("m a=7 1\n", {"zone": "Europe/Berlin"}, "have their own clock"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_leaves_a_choice_is_told_in_one_line(what: str, tmp_path: Path) -> None:
    """With what to choose, or what is wrong."""
    text, choice, reason = WRONG[what]
    with pytest.raises(DataError) as error:
        found_in(tmp_path, text, **choice)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_measurement_is_chosen_and_a_tag_that_lacks_is_told(tmp_path: Path) -> None:
    """Lines of others are left out."""
    cores = ["", ",core=c0", ",core=c1"]
    rows = [f"cpu,host=h{at % 2}{cores[at % 3]} x={at} {SECOND + at}\nmem y=1 {SECOND}\n" for at in range(200)]
    text = "".join(rows)
    found = found_in(tmp_path, text, table="cpu")
    assert (found.series, found.rows) == (("h0", "h1"), 200)
    assert found.notes == ("tag core is missing in some lines, so it names no series; name it in `series` or `where`",)
