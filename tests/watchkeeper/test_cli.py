"""The command line through its real entry: what it answers, what it refuses in one line, and what it leaves alone.

One long file: nearly every test sits at the same desk, a home with champions that is made once and copied.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.retrain import retrain
from watchkeeper import __version__
from watchkeeper.cli import main
from watchkeeper.lake import Lake
from watchkeeper.promotion import read_audit
from watchkeeper.records import Snapshot
from watchkeeper.registry import Registry, folder_of
from watchkeeper.version import read_version, write_version

REPOSITORY = Path(__file__).parents[2]
WATCHKEEPER = Path(sys.executable).with_name("watchkeeper")
COMMANDS = ("ingest", "retrain", "score", "check-drift", "versions", "rollback", "report", "demo")
ROWS = 1500
START = datetime(2026, 1, 5, tzinfo=UTC)
LEARNING = """
window = 20
members = ["norm", "ridge"]
agent.enabled = false
gate.resamples = 20
split.held_out = 0.25
drift.days = 0.4
"""
SOURCE = """
[source]
kind = "parquet"
folder = "{folder}"
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A folder to work in: the home, the watch files, and the source of the watch `pumps`."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.home / 'registry.db'}")

    def write_watch(self, name: str, text: str) -> None:
        (self.folder / "watches" / f"{name}.toml").write_text(text)

    def state(self) -> dict[str, object]:
        """What bad input must leave as it is: snapshots, versions with their aliases, and the audit."""
        lake = Lake((self.home / "lake").as_uri())
        found: dict[str, object] = {name: lake.list(name) for name in ("snapshots", "audit", "scores", "versions")}
        if (self.home / "registry.db").exists():
            found |= {watch: self.registry.versions(watch) for watch in ("pumps", "tiny", "other")}
        return found


def rows(stop: int = ROWS, first: int = 0, channels: int = 3) -> pa.Table:
    """A reading a minute, three waves with noise, and a labelled spike every 150 rows."""
    values = np.sin(np.arange(stop)[:, None] / 30 + np.arange(channels))
    values += 0.1 * np.random.default_rng(0).normal(size=values.shape)
    label = np.zeros(stop, np.int8)
    for at in range(120, stop, 150):
        values[at : at + 8] += 4
        label[at : at + 8] = 1
    times = [START + timedelta(minutes=row) for row in range(stop)]
    columns = {"timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
    columns |= {f"c{number}": pa.array(values[:, number].astype(np.float32)) for number in range(channels)}
    return pa.table({**columns, "label": label}).slice(first)


@pytest.fixture(autouse=True)
def _environment_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001 - undone before it
    """The command line hands its options over as environment variables; no test sees another's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs `watchkeeper …` in this process, as the console entry does."""

    def call(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["watchkeeper", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return call


def assert_refused(ended: Ended, *words: str, status: int = 2) -> None:
    """One line that begins with `error:` and says these words, no traceback, and the exit status."""
    assert ended.status == status, ended
    assert "Traceback" not in ended.out + ended.err
    assert ended.err.startswith("error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert word in ended.err


def take_seat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Let the settings of this process name the desk."""
    desk = Desk(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WATCHKEEPER_HOME", str(desk.home))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(folder / "watches"))
    return desk


def lay(desk: Desk) -> None:
    """Put a source and its watch file on a desk."""
    (desk.folder / "watches").mkdir(exist_ok=True)
    desk.source.mkdir(exist_ok=True)
    pq.write_table(rows(), desk.source / "pump.parquet")
    desk.write_watch("pumps", LEARNING + SOURCE.format(folder=desk.source))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk with an empty home."""
    desk = take_seat(tmp_path, monkeypatch)
    lay(desk)
    return desk


@pytest.fixture(scope="module")
def _watched(trained: Path, copied, tiny_watches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which version 1 is champion of `pumps`, and of `tiny`."""
    with pytest.MonkeyPatch.context() as patch:
        desk = take_seat(tmp_path_factory.mktemp("desk"), patch)
        lay(desk)
        desk.write_watch("tiny", (tiny_watches / "tiny.toml").read_text())
        copied(trained, desk.home)
        retrain.fn("pumps")
    return desk.folder


@pytest.fixture
def watched(_watched: Path, copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose home has champions: for tests that change it, or that try to."""
    desk = take_seat(tmp_path, monkeypatch)
    lay(desk)
    desk.write_watch("tiny", (_watched / "watches/tiny.toml").read_text())
    desk.write_watch("other", LEARNING + SOURCE.format(folder=desk.source))
    copied(_watched / "home", desk.home)
    return desk


# What it answers


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS)], ids=lambda words: "".join(words) or "program"
)
def test_help_says_what_a_command_does(command: tuple[str, ...], cli) -> None:
    """`--help` of the program and of each command ends well and shows how it is used."""
    ended = cli(*command, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert f"watchkeeper {' '.join((*command, '[OPTIONS]'))}" in ended.out
    assert all(name in ended.out for name in COMMANDS) or command


def test_the_version_is_told(cli) -> None:
    """`--version` needs no command and no watch."""
    ended = cli("--version")
    assert (ended.status, ended.out) == (0, f"watchkeeper {__version__}\n")


def test_help_loads_no_heavy_package() -> None:
    """`watchkeeper --help` answers before torch, Prefect, MLflow, Evidently, pandas, scikit-learn and pyarrow load."""
    script = (
        "import sys; sys.argv = ['watchkeeper', '--help']\nfrom watchkeeper.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print('loaded', *{name.split('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(found.stdout.split("loaded ")[1].split())
    assert "typer" in loaded
    assert loaded.isdisjoint({"torch", "prefect", "mlflow", "evidently", "pandas", "sklearn", "pyarrow"})


def test_retrain_says_what_it_did_and_why(desk: Desk, cli) -> None:
    """A first retrain shows each step, the figures beside the random row, and the decision with its reasons."""
    ended = cli("retrain", "--watch", "pumps")
    assert (ended.status, ended.err) == (0, "")
    steps = ("ingest", "prepare", "train vae", "warm up", "train agent", "evaluate", "register", "promote", "ask")
    positions = [ended.out.index(f"✓ {name}") for name in steps]
    assert positions == sorted(positions)
    for words in (
        "1,500 new rows",
        "truth: labels",
        "random",
        "combination",
        "version 1 promoted",
        "the first version",
    ):
        assert words in ended.out
    assert [line.aliases for line in desk.state()["pumps"]] == [("champion",)]


def test_score_then_nothing_new(watched: Desk, cli) -> None:
    """Scores are written for the held-out rows once; a second call finds nothing new and writes nothing."""
    first = cli("score", "-w", "pumps")
    after = watched.state()
    second = cli("score", "-w", "pumps")
    assert (first.status, second.status, first.err + second.err) == (0, 0, "")
    assert "375 rows scored by version 1" in first.out
    assert "no new rows for version 1" in second.out
    assert watched.state() == after


def test_ingest_up_to_a_time_then_the_rest(desk: Desk, cli) -> None:
    """`--until` leaves rows for later, whether the time names its zone or not; nothing comes in twice."""
    assert "600 new rows, 600 in all" in cli("ingest", "-w", "pumps", "--until", "2026-01-05T10:00").out
    assert "120 new rows, 720 in all" in cli("ingest", "-w", "pumps", "--until", "2026-01-05T13:00+01:00").out
    assert "780 new rows, 1,500 in all" in cli("ingest", "-w", "pumps").out
    assert "0 new rows, 1,500 in all" in cli("ingest", "-w", "pumps").out
    assert len(Lake((desk.home / "lake").as_uri()).list("snapshots/pumps")) == 3


def test_check_drift_shows_verdict_and_report(watched: Desk, cli) -> None:
    """A check without drift ends well, and the report that it names is there."""
    ended = cli("check-drift", "-w", "pumps")
    assert (ended.status, ended.err) == (0, "")
    assert "no drift against version 1" in ended.out
    page = next(line.split()[-1] for line in ended.out.splitlines() if line.strip().startswith("report"))
    assert (watched.folder / page).read_text().lstrip().startswith("<")
    assert json.loads((watched.folder / page).with_suffix(".json").read_text())["check"]["exceeds"] is False


def test_drift_starts_a_retrain_where_nobody_else_would(watched: Desk, copied, cli, monkeypatch) -> None:
    """The second check in a row retrains at once; `--no-retrain`, and a Prefect that hears the event, leave it be."""
    cli("ingest", "-w", "tiny", "--until", "2026-01-13")
    assert "check 1 of 2 in a row" in cli("check-drift", "-w", "tiny").out
    assert len(watched.state()["tiny"]) == 1
    cli("ingest", "-w", "tiny", "--until", "2026-01-14")
    told, heard = (copied(watched.home, watched.folder / name) for name in ("told", "heard"))
    ended = [cli("--home", told, "check-drift", "-w", "tiny", "--no-retrain")]
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    ended.append(cli("--engine", "direct", "--home", heard, "check-drift", "-w", "tiny"))
    monkeypatch.delenv("PREFECT_API_URL")
    ended.append(cli("--home", watched.home, "check-drift", "-w", "tiny"))
    assert [(end.status, end.err) for end in ended] == [(0, "")] * 3
    assert all("event    watchkeeper.drift.detected" in end.out for end in ended)
    assert ["✓ register" in end.out for end in ended] == [False, False, True]
    retrained = watched.state()
    assert len(retrained["tiny"]) == 2
    assert '"retrain": "drift"' in (watched.home / "lake" / retrained["audit"][-1]).read_text()


def test_versions_and_report_show_what_is_there(watched: Desk, cli) -> None:
    """The table names the champion; the report shows figures and decision; a new watch has neither and says so."""
    before = watched.state()
    assert "champion" in cli("versions", "-w", "pumps").out
    shown = cli("report", "-w", "pumps")
    assert "combination" in shown.out
    assert "version 1 promoted by" in shown.out
    assert re.search(r"Rows of \d series, snapshot 000001-\w+, gaps of 20", shown.out)
    assert re.search(r"^held out +\d,?\d+ +2026-01-", shown.out, re.MULTILINE)
    assert "has no versions yet" in cli("versions", "-w", "other").out
    assert "has no reports yet" in cli("report", "-w", "other").out
    assert watched.state() == before


def test_rollback_there_and_back(retrained: Path, copied, tiny_watches: Path, tmp_path: Path, monkeypatch, cli) -> None:
    """To a named version, then to the previous one: the reason stands in the audit."""
    desk = take_seat(tmp_path, monkeypatch)
    copied(retrained, desk.home)
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tiny_watches))
    champion = next(line.version for line in desk.state()["tiny"] if "champion" in line.aliases)
    other = {1: 2, 2: 1}[champion]
    ended = cli("rollback", "-w", "tiny", "--to", other, "--why", "too many alarms")
    assert (ended.status, ended.err) == (0, "")
    assert f"rolled back to version {other}" in ended.out
    assert f"instead of version {champion}: too many alarms" in ended.out
    assert f"rolled back to version {champion}" in cli("rollback", "-w", "tiny").out
    assert "too many alarms" in cli("report", "-w", "tiny").out


def test_command_line_over_environment_over_file(desk: Desk, cli, monkeypatch) -> None:
    """The home of the command line wins over the environment's, that over the file's, and that over the default."""
    monkeypatch.delenv("WATCHKEEPER_HOME")

    def made() -> set[str]:
        return {path.parent.name for path in desk.folder.glob("*/lake")}

    cli("ingest", "-w", "pumps")
    assert made() == {".watchkeeper"}
    (desk.folder / "watchkeeper.toml").write_text('home = "of-the-file"')
    cli("ingest", "-w", "pumps")
    assert made() == {".watchkeeper", "of-the-file"}
    monkeypatch.setenv("WATCHKEEPER_HOME", "of-the-environment")
    cli("ingest", "-w", "pumps")
    assert made() == {".watchkeeper", "of-the-file", "of-the-environment"}
    cli("--home", "of-the-command", "ingest", "-w", "pumps")
    assert made() == {".watchkeeper", "of-the-file", "of-the-environment", "of-the-command"}


def test_a_named_settings_file_counts(desk: Desk, cli, monkeypatch) -> None:
    """`--config` names another settings file."""
    monkeypatch.delenv("WATCHKEEPER_HOME")
    (desk.folder / "mine.toml").write_text('home = "mine"')
    assert cli("--config", "mine.toml", "ingest", "-w", "pumps").status == 0
    assert (desk.folder / "mine" / "lake").is_dir()


def test_messy_rows_are_put_right_and_named(watched: Desk, cli) -> None:
    """Gaps, a constant channel, backward and double timestamps: a retrain goes through and names each of them."""
    table = rows().to_pydict()
    table["c0"][300:700] = [float("nan")] * 400
    table["c1"] = [7.0] * ROWS
    table["timestamp"][200], table["timestamp"][210] = table["timestamp"][210], table["timestamp"][200]
    table["timestamp"][900] = table["timestamp"][899]
    table["timestamp"][50] = None
    table["c2"][60] = float("inf")
    pq.write_table(pa.table(table, schema=rows().schema), watched.source / "messy.parquet")
    ended = cli("retrain", "-w", "pumps")
    assert (ended.status, ended.err) == (0, "")
    for words in (
        "1,497 new rows",
        "3 rows quarantined",
        "messy.parquet: 2 backward timestamps, put in order",
        "messy.parquet: channel c0 lacks 27% of its readings",
        "messy.parquet: constant channel c1",
        "quarantined 1 rows: timestamp stands twice",
        "quarantined 1 rows: timestamp is missing",
        "quarantined 1 rows: reading is infinite",
        "version 2",
    ):
        assert words in ended.out


# What it refuses


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ingest", "-w", "pump"), ("watch pump", "did you mean pumps?")),
        (("retrain", "-w", "../pumps"), ("watch ../pumps", "there is no")),
        (("score", "-w", "zebra"), ("watch zebra", "known are")),
        (("versions", "-w", "zebra"), ("watch zebra",)),
        (("report", "-w", "zebra"), ("watch zebra",)),
        (("--engine", "steam", "ingest", "-w", "pumps"), ("engine", "'steam'", "'direct'")),
        (("--device", "abacus", "retrain", "-w", "pumps"), ("device", "'abacus'", "'cuda'")),
        (("--config", "absent.toml", "ingest", "-w", "pumps"), ("absent.toml", "not found")),
        (("--lake", "ftp://elsewhere", "ingest", "-w", "pumps"), ("ftp://elsewhere", "file:///")),
        (("--home", "/dev/null/home", "ingest", "-w", "pumps"), ("/dev/null/home",)),
        (("--watches", "nowhere", "ingest", "-w", "pumps"), ("no watch files", "nowhere")),
        (("ingest", "-w", "pumps", "--until", "tomorrow"), ("--until tomorrow", "not a time")),
        (("retrain", "-w", "pumps", "--until", "2026-13-01"), ("--until 2026-13-01",)),
        (("retrain", "-w", "tiny", "--until", "2025-01-01"), ("the plant starts at 2026-01-05", "no rows before")),
        (("rollback", "-w", "pumps", "--to", "9"), ("has no version 9", "it has: 1")),
        (("rollback", "-w", "pumps", "--to", "1"), ("version 1", "champion already")),
        (("rollback", "-w", "pumps"), ("no previous champion", "version 1 is the first")),
        (("rollback", "-w", "other"), ("no champion to roll back from",)),
        (("score", "-w", "other"), ("no champion yet", "watchkeeper retrain --watch other")),
        (("check-drift", "-w", "other"), ("no champion yet", "watchkeeper retrain --watch other")),
    ],
    ids=lambda words: " ".join(words[:7]) if isinstance(words, tuple) else None,
)
def test_bad_words_are_refused_in_one_line(words: tuple[str, ...], said: tuple[str, ...], watched: Desk, cli) -> None:
    """Wrong names, settings, times and versions end with status 2 and one line, and change nothing."""
    before = watched.state()
    assert_refused(cli(*words), *said)
    assert watched.state() == before


@pytest.mark.parametrize(
    "words", [("ingest",), ("ingest", "--wacht", "pumps"), ("rollback", "-w", "tiny", "--to", "x")]
)
def test_wrong_usage_shows_how_it_is_used(words: tuple[str, ...], desk: Desk, cli) -> None:
    """A missing or misspelt option ends with status 2 and shows the usage."""
    ended = cli(*words)
    assert ended.status == 2
    assert f"watchkeeper {words[0]} [OPTIONS]" in ended.err
    assert "Traceback" not in ended.err
    assert not desk.home.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("windw = 10\n" + SOURCE, ("pumps.toml", "unknown key windw")),
        (SOURCE + "foldr = 'x'\n", ("pumps.toml", "unknown key source.parquet.foldr")),
        ("window = 1\n" + SOURCE, ("pumps.toml", "window", "greater than or equal to 2", "found 1")),
        ("window = [10\n" + SOURCE, ("pumps.toml", "not valid TOML")),
        ("window = 10\n", ("pumps.toml", "source", "required")),
        ("[source]\nkind = 'telegraph'\n", ("pumps.toml", "source", "telegraph")),
        ("members = ['norm', 'oracle']\n" + SOURCE, ("oracle", "members.1")),
        ("[source]\nkind = 'parquet'\nfolder = 'absent'\n", ("source folder absent", "does not exist")),
        ("[source]\nkind = 'parquet'\nfolder = '.'\nfiles = '*.csv'\n", ("holds no file *.csv",)),
        ("[source]\nkind = 'parquet'\nfolder = '$WATCHKEEPER_DATA'\n", ("WATCHKEEPER_DATA is not set",)),
        ("channels = ['c0']\n" + SOURCE, ("the channels in its file are not those of its data", "1 against 3")),
    ],
)
def test_a_bad_watch_file_is_refused_in_one_line(text: str, said: tuple[str, ...], watched: Desk, cli) -> None:
    """A watch file with an error ends a retrain with status 2 and the place of the error, and changes nothing."""
    before = watched.state()
    watched.write_watch("pumps", text.format(folder=watched.source))
    assert_refused(cli("retrain", "-w", "pumps"), *said)
    assert watched.state() == before


def test_the_shipped_smd_watch_wants_its_data(desk: Desk, cli) -> None:
    """Without WATCHKEEPER_DATA the watch `smd` says which variable to set, and to what."""
    ended = cli("--watches", REPOSITORY / "watches", "retrain", "-w", "smd")
    assert_refused(ended, "WATCHKEEPER_DATA is not set", "smd_*.parquet")
    assert not (desk.home / "lake").exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("home = 'x'\nhoem = 'y'", ("unknown key hoem",)),
        ("threads = 'many'", ("threads", "'many'")),
        ("home = ", ("watchkeeper.toml is not valid TOML",)),
    ],
)
def test_a_bad_settings_file_is_refused_in_one_line(file: str, said: tuple[str, ...], desk: Desk, cli) -> None:
    """An unknown setting, one of the wrong kind and broken TOML end with status 2 and the place."""
    (desk.folder / "watchkeeper.toml").write_text(file)
    assert_refused(cli("ingest", "-w", "pumps"), "watchkeeper.toml", *said)
    assert not desk.home.exists()


def test_an_unknown_setting_in_the_environment_is_refused(desk: Desk, cli, monkeypatch) -> None:
    """A misspelt variable ends with status 2 and names the one that was meant."""
    monkeypatch.setenv("WATCHKEEPER_HOEM", "x")
    assert_refused(cli("ingest", "-w", "pumps"), "WATCHKEEPER_HOEM", "did you mean WATCHKEEPER_HOME?")
    assert not desk.home.exists()


def without(name: str) -> pa.Table:
    return rows().drop_columns([name])


BAD_FILES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no Parquet": (lambda path: path.write_text("timestamp,c0\n1,2\n") and None, ("no readable Parquet file",)),
    "empty": (lambda path: path.write_bytes(b"") and None, ("no readable Parquet file",)),
    "missing channel": (lambda path: pq.write_table(without("c1"), path), ("missing channel c1",)),
    "extra channel": (lambda path: pq.write_table(rows(channels=4), path), ("extra channel c3", "start a new watch")),
    "text for numbers": (
        lambda path: pq.write_table(without("c1").append_column("c1", pa.array(["x"] * ROWS)), path),
        ("channel c1 is string, wanted a number",),
    ),
    "text for labels": (
        lambda path: pq.write_table(without("label").append_column("label", pa.array(["x"] * ROWS)), path),
        ("column label is string",),
    ),
    "no timestamp": (lambda path: pq.write_table(without("timestamp"), path), ("no column timestamp",)),
    "numbers for times": (
        lambda path: pq.write_table(
            without("timestamp").append_column("timestamp", pa.array(range(ROWS), pa.int64())), path
        ),
        ("column timestamp is int64, wanted a timestamp",),
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_and_the_others_come_in(kind: str, watched: Desk, cli) -> None:
    """A file that cannot be used ends an ingest with status 2 and its name; the good file beside it is taken in."""
    before = watched.state()
    write, said = BAD_FILES[kind]
    write(watched.source / "bad.parquet")
    pq.write_table(rows(), watched.source / "valve.parquet")
    ended = cli("ingest", "-w", "pumps")
    assert_refused(ended, "1 of the source's files refused", "bad.parquet", *said, "the other files were taken in")
    after = watched.state()
    lake = Lake((watched.home / "lake").as_uri())
    assert Snapshot(**lake.get_json(lake.list("snapshots/pumps")[-1])).series == ("pump", "valve")
    assert {name: after[name] for name in ("pumps", "audit", "versions")} == {
        name: before[name] for name in ("pumps", "audit", "versions")
    }


def test_a_bad_file_alone_leaves_nothing_behind(desk: Desk, cli) -> None:
    """Where no file can be used, a retrain ends with status 2 and no snapshot is made."""
    (desk.source / "pump.parquet").write_bytes(b"PAR1 it says")
    assert_refused(cli("retrain", "-w", "pumps"), "no usable row", "pump.parquet", "no readable Parquet file")
    assert not list(desk.home.glob("lake/**/*.json"))


def test_an_empty_file_of_rows_is_no_data(desk: Desk, cli) -> None:
    """A Parquet file without a row is no data at all."""
    pq.write_table(rows().slice(0, 0), desk.source / "pump.parquet")
    assert_refused(cli("retrain", "-w", "pumps"), "no usable row")


def test_a_series_shorter_than_a_window_makes_no_version(watched: Desk, cli) -> None:
    """Ten rows cannot be split: status 2, the lengths in the message, and no version."""
    for path in watched.source.iterdir():
        path.unlink()
    pq.write_table(rows(10), watched.source / "short.parquet")
    before = watched.state()
    assert_refused(cli("retrain", "-w", "other"), "short: a series of 10 rows is too short to split", "20 rows")
    assert {**watched.state(), "snapshots": None} == {**before, "snapshots": None}


def test_a_short_series_beside_a_long_one_is_left_out(watched: Desk, cli) -> None:
    """A retrain goes on with the series that are long enough, and names the one that is not."""
    pq.write_table(rows(10), watched.source / "short.parquet")
    ended = cli("retrain", "-w", "pumps")
    assert ended.status == 0
    assert "left out short: a series of 10 rows is too short to split" in ended.out


# What it does not trust


def version_folder(desk: Desk, watch: str, number: int) -> Path:
    return desk.home / "lake" / folder_of(desk.registry.get(watch, number))


def change_weights(folder: Path) -> None:
    path = folder / "detector.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"window": 20', '"window": 21'))


def add_a_file(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"\x80\x04.")


TAMPERING = {
    "a byte of the weights": (change_weights, "detector.safetensors has changed"),
    "the manifest": (change_manifest, "manifest.json is not the registered one"),
    "a foreign file": (add_a_file, "files that its manifest does not name: extra.pkl"),
    "a missing file": (lambda folder: (folder / "reference.parquet").unlink(), "cannot read"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_a_tampered_champion_is_refused(kind: str, watched: Desk, cli) -> None:
    """A champion whose folder was changed scores nothing and checks nothing: status 1, one line."""
    change, said = TAMPERING[kind]
    change(version_folder(watched, "pumps", 1))
    before = watched.state()
    for command in ("score", "check-drift"):
        assert_refused(cli(command, "-w", "pumps"), said, status=1)
    assert watched.state() == before


def test_a_retrain_replaces_a_champion_that_cannot_be_read(watched: Desk, cli) -> None:
    """The same rows make a second version, which serves, and the audit says why it had no champion to beat."""
    change_weights(version_folder(watched, "pumps", 1))
    done = cli("retrain", "-w", "pumps")
    assert done.status == 0
    champion = watched.registry.alias("pumps", "champion")
    assert champion is not None
    assert champion.version == 2
    lake = Lake((watched.home / "lake").as_uri())
    assert "the champion cannot be read" in read_audit(lake, "pumps")[-1].reasons[0]
    assert cli("score", "-w", "pumps").status == 0


def test_a_rollback_to_a_tampered_version_is_refused(watched: Desk, cli) -> None:
    """A version whose folder was changed cannot become champion again; the champion stays."""
    first = version_folder(watched, "pumps", 1)
    second = first.with_name("second")
    shutil.copytree(first, second)
    register = {"parameters": {}, "metrics": {}, "history": (), "tags": {}}
    sha256 = watched.registry.get("pumps", 1).sha256
    watched.registry.register("pumps", "second", "versions/pumps/second", sha256, **register)
    change_weights(second)
    before = watched.state()
    assert_refused(cli("rollback", "-w", "pumps", "--to", "2"), "detector.safetensors has changed", status=1)
    assert watched.state() == before


def test_a_version_that_cannot_be_built_is_refused(watched: Desk, cli) -> None:
    """Weights that do not fit the network, as another release may have left them, are one line and status 1."""
    registry = watched.registry
    first = registry.get("tiny", 1)
    lake = Lake((watched.home / "lake").as_uri())
    version = read_version(lake, folder_of(first), first.sha256)
    name = max(version.arrays, key=lambda name: name.startswith("members/vae") * version.arrays[name].ndim)
    misfit = {**version.arrays, name: version.arrays[name][1:]}
    manifest = version.manifest.model_copy(update={"files": {}})
    written = write_version(lake, manifest, misfit, version.reference)
    register = {"parameters": {}, "metrics": {}, "history": (), "tags": {}}
    registry.register("tiny", "misfit", *written, **register)
    before = watched.state()
    ended = cli("rollback", "-w", "tiny", "--to", "2")
    assert_refused(ended, "holds a detector that this release cannot build", status=1)
    assert watched.state() == before


# As a process of its own


def run_process(*words: str) -> Ended:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([WATCHKEEPER, *words], env=environment, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_as_a_process_good_and_bad_words_end_as_they_should(watched: Desk) -> None:
    """The installed command lists versions with status 0 and refuses with status 2, with nothing else on stderr."""
    listed = run_process("versions", "-w", "pumps")
    assert (listed.status, listed.err) == (0, "")
    assert "champion" in listed.out
    assert_refused(run_process("ingest", "-w", "zebra"), "watch zebra")
    assert_refused(run_process("score", "-w", "other"), "no champion yet")
    assert watched.home.exists()


def test_interrupted_it_says_how_to_go_on(desk: Desk, cli, monkeypatch) -> None:
    """Ctrl-C ends with status 130 and one line that says what to do."""
    from watchkeeper.cli import run

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "ingest", interrupted)
    ended = cli("ingest", "-w", "pumps")
    assert ended == Ended(130, "", "interrupted; run the same command again to go on\n")
    assert not desk.home.exists()


@pytest.mark.slow
def test_through_prefect_bad_input_is_one_line_too(desk: Desk) -> None:
    """With Prefect's engine and its own server, good input ends well, and bad input is one line without a traceback."""
    good = run_process("--engine", "prefect", "ingest", "-w", "pumps")
    assert (good.status, good.err) == (0, "")
    assert "1,500 new rows" in good.out
    (desk.source / "pump.parquet").unlink()
    assert_refused(run_process("--engine", "prefect", "ingest", "-w", "pumps"), "holds no file *.parquet")
