"""The doctor: in a sound home all is well, and each thing that can be wrong is found and told, and nothing else is."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from watchkeeper import doctor
from watchkeeper.cli import main
from watchkeeper.doctor import PROBES
from watchkeeper.doctor_prefect import check_prefect
from watchkeeper.lake import Lake
from watchkeeper.registry import Registry

WATCHKEEPER = str(Path(sys.executable).with_name("watchkeeper"))
SOUND = [
    ("store", "ok"),
    ("clock", "ok"),
    ("registry", "ok"),
    ("disk of home", "ok"),
    ("device", "ok"),
    ("prefect", "left out"),
    ("tiny: file", "ok"),
    ("tiny: source", "ok"),
    ("tiny: rows", "ok"),
    ("tiny: versions", "ok"),
]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def examined(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[int, str]:
    """Run the command in this process; return its exit status and what it printed."""
    monkeypatch.setattr(sys, "argv", ["watchkeeper", *options, "doctor"])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0), capsys.readouterr().out


def lines_of(out: str) -> list[tuple[str, str]]:
    """The checks of an output: name and state."""
    states = {"✓": "ok", "✗": "failed", "–": "left out"}
    return [(line[2:20].strip(), states[line[0]]) for line in out.splitlines() if line[:1] in states]


def test_in_a_sound_home_all_is_well(home: Path, capsys, monkeypatch) -> None:
    """Every check is made but that of a server, the status is 0, and no probe is left."""
    status, out = examined(capsys, monkeypatch)
    assert (status, lines_of(out)) == (0, SOUND)
    assert "9 checks well, 0 failed, 1 left out" in out
    assert not Lake((home / "lake").as_uri()).list(PROBES)


def test_a_fresh_home_is_no_failure(tiny_watches: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """What is not there yet is left out with the command that makes it, and no registry is made by looking."""
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tiny_watches))
    status, out = examined(capsys, monkeypatch)
    assert status == 0
    assert [name for name, state in lines_of(out) if state == "left out"] == ["registry", "prefect", "tiny: rows"]
    assert "watchkeeper ingest --watch tiny" in out
    assert not (tmp_path / "home" / "registry.db").exists()


def damage_registry(home: Path) -> None:
    (home / "registry.db").write_bytes(b"no database at all" * 100)


def tear_registry(home: Path) -> None:
    data = bytearray((home / "registry.db").read_bytes())
    data[4096:40960] = os.urandom(36864)
    (home / "registry.db").write_bytes(data)


def age_schema(home: Path) -> None:
    with closing(sqlite3.connect(home / "registry.db")) as registry, registry:
        registry.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


def damage_version(home: Path) -> None:
    next((home / "lake/versions").rglob("*.safetensors")).write_bytes(b"other weights")


def lose_version(home: Path) -> None:
    shutil.rmtree(home / "lake/versions")


def lose_rows(home: Path) -> None:
    next((home / "lake/raw").rglob("*.parquet")).unlink()


def lose_champion(home: Path) -> None:
    Registry(f"sqlite:///{home / 'registry.db'}").set_alias("tiny", "champion", None)


def break_snapshot(home: Path) -> None:
    next((home / "lake/snapshots/tiny").iterdir()).write_text("{")


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        (damage_registry, "registry", "file is not a database; to do: end what uses it and put back its backup"),
        (tear_registry, "registry", "is damaged"),
        (age_schema, "registry", "schema"),
        (damage_version, "tiny: versions", "has changed since it was written"),
        (lose_version, "tiny: versions", "1 of 1 cannot be read; champion, version 1: cannot read"),
        (lose_champion, "tiny: versions", "none of them champion"),
        (lose_rows, "tiny: rows", "1 of 6 files of snapshot 000001"),
        (break_snapshot, "tiny: rows", "is no JSON"),
    ],
)
def test_harm_to_the_home_is_found(
    harm: Callable[[Path], None], name: str, words: str, home, capsys, monkeypatch
) -> None:
    """The check that it concerns fails with words that help, the status is 1, and the other checks stay well."""
    harm(home)
    status, out = examined(capsys, monkeypatch)
    assert status == 1
    failed = [line for line in out.splitlines() if line.startswith("✗")]
    assert len(failed) == 1, out
    assert failed[0][2:].startswith(name)
    assert words in failed[0]


def test_a_folder_without_rights_is_found(tmp_path: Path) -> None:
    """A lake that cannot be written: a folder below a file, as rights do not bind every account."""
    (tmp_path / "file").write_text("")
    (check,) = doctor.check_store((tmp_path / "file" / "lake").as_uri())
    assert check.state == "failed"
    assert "cannot write" in check.found
    assert "check the disk and the rights" in check.found


class Odd(Lake):
    """A lake that does one thing wrong."""

    wrong = ""

    def get(self, key: str) -> bytes:
        return b"else" if self.wrong == "get" else super().get(key)

    def entries(self, prefix: str) -> Any:
        found = super().entries(prefix)
        if self.wrong == "entries":
            return []
        if self.wrong == "clock":
            return [entry._replace(modified=entry.modified.replace(year=entry.modified.year - 1)) for entry in found]
        return found

    def delete(self, key: str) -> None:
        if self.wrong != "delete":
            super().delete(key)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("get", "what is written reads back otherwise"),
        ("entries", "what is written is not listed"),
        ("delete", "what is written is not deleted"),
        ("clock", "s from this machine's"),
    ],
)
def test_a_store_that_does_one_thing_wrong_is_found(wrong: str, words: str, tmp_path: Path, monkeypatch) -> None:
    """Each thing that a lake needs of its store is tried, and the clocks are compared."""
    monkeypatch.setattr(doctor, "Lake", Odd)
    monkeypatch.setattr(Odd, "wrong", wrong)
    checks = list(doctor.check_store((tmp_path / "lake").as_uri()))
    assert [check.state for check in checks] == (["ok", "failed"] if wrong == "clock" else ["failed"])
    assert words in checks[-1].found


@pytest.mark.usefixtures("s3_server")
def test_a_bucket_is_as_good_as_a_folder() -> None:
    """Both S3 servers pass, and nothing is left there."""
    uri = f"s3://lakes/{uuid4()}"
    assert [(check.name, check.state) for check in doctor.check_store(uri)] == [("store", "ok"), ("clock", "ok")]
    assert not Lake(uri).list("")


def test_a_wrong_bucket_secret_and_endpoint_are_told_apart(own_s3_server: Any, monkeypatch) -> None:
    """Each is one failed check with a hint of its own."""
    (bucket,) = doctor.check_store("s3://not-there/lake")
    assert (bucket.state, "has no bucket not-there" in bucket.found) == ("failed", True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    (secret,) = doctor.check_store("s3://lakes/x")
    assert (secret.state, "refused the credentials" in secret.found) == ("failed", True)
    own_s3_server.stop()
    (endpoint,) = doctor.check_store("s3://lakes/x")
    assert (endpoint.state, "AWS_ENDPOINT_URL" in endpoint.found) == ("failed", True)


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch) -> None:
    """With little space left, the check names the command that makes room; one disk is told once."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 99, doctor.LEAST_FREE - 1))
    (check,) = doctor.check_disk(tmp_path / "not" / "yet", (tmp_path / "lake").as_uri())
    assert (check.name, check.state) == ("disk of home", "failed")
    assert "watchkeeper gc" in check.mend


def test_a_gpu_that_is_asked_for_and_not_there_is_found(monkeypatch) -> None:
    """On a machine without one, cuda fails and cpu is well."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.check_device("cpu").state == "ok"
    assert doctor.check_device("cuda").state == "failed"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("window = 'wide'\n[source]\nkind = 'plant'\nstart = 2026-01-05T00:00:00Z\n", "bad: file"),
        ("[source]\nkind = 'parquet'\nfolder = '/not/there'\n", "bad: source"),
        ("[source]\nkind = 'parquet'\nfolder = '$NOT_SET_ANYWHERE'\n", "bad: source"),
    ],
)
def test_a_watch_that_cannot_run_is_found(text: str, name: str, tmp_path: Path, capsys, monkeypatch) -> None:
    """A broken file and a source that is not there fail, each under its own name; the doctor goes on."""
    (tmp_path / "bad.toml").write_text(text)
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(tmp_path))
    status, out = examined(capsys, monkeypatch)
    assert status == 1
    assert [found for found, state in lines_of(out) if state == "failed"] == [name]


@pytest.mark.usefixtures("home")
def test_an_unknown_watch_is_bad_input() -> None:
    """Status 2 and one line, as everywhere."""
    done = subprocess.run([WATCHKEEPER, "doctor", "--watch", "tini"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean tiny?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_down_is_found() -> None:
    """Nobody listens: one failed check that says how to start one."""
    (check,) = check_prefect("http://127.0.0.1:9/api", ["tiny"])
    assert (check.name, check.state) == ("prefect", "failed")
    assert "no answer from http://127.0.0.1:9/api" in check.found
    assert "watchkeeper up" in check.mend
