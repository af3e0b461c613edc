import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from models.detector import AGENT
from models.members import MEMBERS
from watchkeeper.errors import WatchError
from watchkeeper.sources import ParquetSource, PlantSource, Shift
from watchkeeper.watch import MemberName, Watch, load_watch

WATCHES = Path(__file__).parents[2] / "watches"
PLANT = '[source]\nkind = "plant"\nstart = 2026-01-05T00:00:00Z\n'
DATES = "[split]\ncalibration_from = 2026-01-15\nheld_out_from = 2026-01-22\n"
NO_DEFAULT = {"source.kind", "source.start", "source.shift.after_days"}


def test_the_members_that_a_watch_may_name_are_those_that_there_are() -> None:
    """The names in watch files and the registry of members are the same, but for the agent, which has its own table."""
    assert set(get_args(MemberName)) == set(MEMBERS) - {AGENT}


def write(folder: Path, text: str, name: str = "well") -> Path:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys of nested tables, joined by dots."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return out


def remarks(text: str) -> dict[str, str]:
    """The comment beside each key of a TOML file without multi-line values."""
    found, table = {}, ""
    for line in text.splitlines():
        if head := re.match(r"\[(.+)\]\s*(#.*)?$", line):
            table = f"{head[1]}."
        elif key := re.match(r"(\w+)\s*=.*?(#.*)?$", line):
            found[f"{table}{key[1]}"] = key[2] or ""
    return found


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """The default of each field of a model and of the tables in it."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            found |= defaults(type(default), f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = list(default) if isinstance(default, tuple) else default
    return found


def test_the_shipped_watches_load() -> None:
    """Both files in `watches/` are valid and name their sources."""
    plant, smd = load_watch("plant", WATCHES), load_watch("smd", WATCHES)
    assert (plant.name, smd.name) == ("plant", "smd")
    assert isinstance(plant.source, PlantSource)
    assert plant.source.start == datetime(2026, 1, 5, tzinfo=UTC)
    assert isinstance(smd.source, ParquetSource)
    assert smd.labels.imported == "oracle"


def test_every_key_of_the_plant_that_claims_a_default_has_it() -> None:
    """A key without a remark on its default stands there with the model's own, with the same type."""
    text = (WATCHES / "plant.toml").read_text(encoding="utf-8")
    written, said = flat(tomllib.loads(text)), remarks(text)
    assert written.keys() == said.keys()
    known = defaults(Watch) | defaults(PlantSource, "source.") | defaults(Shift, "source.shift.")
    claimed = {key for key in written if "by default" not in said[key]} - NO_DEFAULT
    assert len(claimed) > 20
    assert {key: written[key] for key in claimed} == {key: known[key] for key in claimed}
    assert {key: type(written[key]) for key in claimed} == {key: type(known[key]) for key in claimed}


def test_the_plant_shows_every_key_that_there_is() -> None:
    """A key that the model gains has to be explained in the file."""
    text = (WATCHES / "plant.toml").read_text(encoding="utf-8")
    known = defaults(Watch) | defaults(PlantSource, "source.") | defaults(Shift, "source.shift.")
    written = flat(tomllib.loads(text))
    unset = {key for key in known if known[key] is None and key not in written} - {"source.shift"}  # TOML has no null
    assert set(known) - {"name", "source", "source.shift"} - unset == set(written)
    assert all(f"# {key.rpartition('.')[2]} = " in text for key in unset)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("windw = 3\n" + PLANT, "unknown key windw"),
        (PLANT + "[labels]\nbudgt = 3\n", r"unknown key labels\.budgt"),
        (PLANT + "colour = 3\n", r"unknown key source\.plant\.colour"),
        ('window = "wide"\n' + PLANT, "window: .*integer.*found 'wide'"),
        ("window = 1\n" + PLANT, "window: .*greater than or equal to 2, found 1"),
        (PLANT + "[split]\nheld_out = 1.0\n", r"split\.held_out: .*less than 1"),
        (
            PLANT + "[split]\ncalibration = 0.5\nheld_out = 0.5\n",
            r"split: .*leave rows for training, found 0\.5 and 0\.5$",
        ),
        (PLANT + "[split]\nheld_out_from = 2026-01-22\n", "split: held_out_from stands alone; .*calibration_from"),
        (PLANT + DATES + "held_out = 0.2\n", "split: both dates and shares; remove held_out, or"),
        (
            PLANT + DATES + "calibration = 0.2\nheld_out = 0.2\n",
            "split: both dates .* remove calibration and held_out, ",
        ),
        (
            PLANT + "[split]\ncalibration_from = 2026-01-22\nheld_out_from = 2026-01-22T01:00:00+01:00\n",
            "split: calibration_from must lie before held_out_from, found 2026-01-22T00:00 and 2026-01-22T00:00$",
        ),
        (PLANT + DATES.replace("2026-01-15", "15"), r"split\.calibration_from: wanted a date.*found 15"),
        (PLANT + DATES.replace("2026-01-15", '"soon"'), r"split\.calibration_from: .*date.*found 'soon'"),
        (
            PLANT + "[ranges]\nlimits = { a = [3, 3] }\n",
            r"ranges\.limits: a wants the lowest and the highest reading, found 3 and 3$",
        ),
        (PLANT + "[ranges]\nlimits = { a = [0, inf] }\n", r"ranges\.limits: a wants .*, found 0 and inf$"),
        (PLANT + "[ranges]\nlimits = { a = [0] }\n", r"ranges\.limits\.a.*: Field required"),
        (PLANT + "[ranges]\nlimits = { a = [0, 'hot'] }\n", r"ranges\.limits\.a\.1: .*number.*found 'hot'"),
        (PLANT + '[ranges]\naction = "drop"\n', r"ranges\.action: .*'report' or 'quarantine', found 'drop'"),
        (
            'channels = ["flow", "level"]\n' + PLANT + "[ranges]\nlimits = { levl = [0, 3] }\n",
            "ranges: limits name levl, which is not among the 2 of channels$",
        ),
        (PLANT + "[split]\ngap = 49\n", "split: gap must be at least the window of 50 rows, found 49$"),
        (PLANT + "[split]\ngap = 1.5\n", r"split\.gap: .*integer.*found 1\.5"),
        (PLANT + '[labels]\nimported = "sometimes"\n', r"labels\.imported: .*'known' or 'oracle'"),
        ('[source]\nkind = "tape"\n', "source: .*'plant'.*'parquet'"),
        ("window = 10\n", "source: Field required"),
        ("window = = 10\n", "not valid TOML.*line 1"),
        ('name = "../../elsewhere"\n' + PLANT, "unknown key name"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(text: str, problem: str, tmp_path: Path) -> None:
    """The message names the file, the key, what was found and what was wanted."""
    with pytest.raises(WatchError, match=rf"well\.toml: {problem}"):
        load_watch("well", write(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 give no traceback."""
    (tmp_path / "well.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WatchError, match="not valid TOML"):
        load_watch("well", tmp_path)


def test_an_unknown_watch_comes_with_a_hint(tmp_path: Path) -> None:
    """A near name is offered; without one, those known are."""
    write(tmp_path, PLANT)
    with pytest.raises(WatchError, match="did you mean well"):
        load_watch("wel", tmp_path)
    with pytest.raises(WatchError, match="known are well"):
        load_watch("turbine", tmp_path)
    with pytest.raises(WatchError, match="no watch files in"):
        load_watch("well", tmp_path / "empty")


@pytest.mark.parametrize("name", ["../well", "/etc/well", "", "a/b"])
def test_a_name_that_is_a_path_is_refused(name: str, tmp_path: Path) -> None:
    """Names become parts of paths."""
    folder = tmp_path / "watches"
    folder.mkdir()
    write(tmp_path, PLANT)
    with pytest.raises(WatchError):
        load_watch(name, write(folder, PLANT, "other"))


def test_a_file_with_an_odd_name_is_refused(tmp_path: Path) -> None:
    """Blanks do not belong in paths of the lake."""
    with pytest.raises(WatchError, match="a name holds letters"):
        load_watch("my well", write(tmp_path, PLANT, "my well"))


def test_a_start_without_a_zone_is_utc(tmp_path: Path) -> None:
    """Local times are turned into UTC, and times without a zone are taken as UTC."""
    source = load_watch("well", write(tmp_path, PLANT.replace("Z", ""))).source
    assert isinstance(source, PlantSource)
    assert source.start == datetime(2026, 1, 5, tzinfo=UTC)
    source = load_watch("well", write(tmp_path, PLANT.replace("Z", "+02:00"))).source
    assert isinstance(source, PlantSource)
    assert source.start == datetime(2026, 1, 4, 22, tzinfo=UTC)


def test_dates_of_the_split_are_taken_as_utc(tmp_path: Path) -> None:
    """A date is its first moment; a time with a zone is turned, one without is taken as UTC."""
    split = load_watch("well", write(tmp_path, PLANT + DATES)).split
    assert (split.calibration_from, split.held_out_from) == (
        datetime(2026, 1, 15, tzinfo=UTC),
        datetime(2026, 1, 22, tzinfo=UTC),
    )
    text = DATES.replace("01-15", "01-15T06:00:00+02:00").replace("01-22", "01-22T06:00:00")
    split = load_watch("well", write(tmp_path, PLANT + text)).split
    assert (split.calibration_from, split.held_out_from) == (
        datetime(2026, 1, 15, 4, tzinfo=UTC),
        datetime(2026, 1, 22, 6, tzinfo=UTC),
    )


def test_the_folder_of_a_source_may_name_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$WATCHKEEPER_DATA` is filled in when it is set; else the error says which variable is wanted."""
    source = load_watch("smd", WATCHES).source
    assert isinstance(source, ParquetSource)
    with pytest.raises(WatchError, match="environment variable WATCHKEEPER_DATA is not set"):
        source.path()
    monkeypatch.setenv("WATCHKEEPER_DATA", "/somewhere")
    assert source.path() == Path("/somewhere")


def test_a_watch_is_frozen() -> None:
    """Steps cannot change it for one another."""
    with pytest.raises(ValidationError, match="frozen"):
        load_watch("plant", WATCHES).window = 3  # type: ignore[misc] # that is the point


@pytest.mark.parametrize("split", ["", DATES, "[split]\nheld_out = 0.25\ngap = 80\n"])
def test_a_watch_that_is_written_out_reads_back(tmp_path: Path, split: str) -> None:
    """As JSON with every key, defaults included, it is the same watch."""
    watch = load_watch("well", write(tmp_path, PLANT + split))
    assert Watch.model_validate_json(watch.model_dump_json()) == watch
