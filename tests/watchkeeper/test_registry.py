import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from watchkeeper.errors import RegistryError, VersionNotFoundError
from watchkeeper.records import Registered
from watchkeeper.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, folder_of

REPOSITORY = Path(__file__).parents[2]


def register(registry: Registry, watch: str, run: str, **changes: object) -> Registered:
    options = {
        "parameters": {"window": 10, "long": "x" * 2000},
        "metrics": {"combination/vus_pr": 0.5},
        "history": [("vae/loss", epoch, 1.0 / (1 + epoch)) for epoch in range(1200)],
        "tags": {"snapshot": "000001-abc", "vus_pr": "0.5000"},
    }
    return registry.register(watch, run, f"versions/{watch}/{run}", f"digest of {run}", **{**options, **changes})  # type: ignore[arg-type]


def test_a_version_is_found_again(registry: Registry) -> None:
    """Number, digest and folder; more figures than MLflow takes in one call are no trouble."""
    made = register(registry, "found", "run-1")
    assert (made.watch, made.version, made.sha256) == ("found", 1, "digest of run-1")
    assert registry.get("found", 1) == made
    assert registry.find("found", "run-1") == made
    assert folder_of(made) == "versions/found/run-1"


def test_a_run_made_again_is_found_as_its_newest_version(registry: Registry) -> None:
    """A run whose first version was damaged is registered once more, and found as the second."""
    register(registry, "again", "run-1", history=[])
    register(registry, "again", "run-2", history=[])
    third = register(registry, "again", "run-1", history=[])
    assert registry.find("again", "run-1") == third
    assert [line.version for line in registry.versions("again")] == [3, 2, 1]


def test_watches_have_versions_of_their_own(registry: Registry) -> None:
    """The same run under another watch is another version."""
    register(registry, "here", "run-1", history=[])
    assert registry.find("there", "run-1") is None
    assert register(registry, "there", "run-1", history=[]).version == 1


def test_the_newest_is_challenger_and_aliases_are_shown(registry: Registry) -> None:
    """Registering names a challenger; it does not crown anyone."""
    register(registry, "shown", "run-1", history=[])
    register(registry, "shown", "run-2", history=[], tags={"snapshot": "000002-def", "vus_pr": ""})
    assert registry.alias("shown", CHAMPION) is None
    registry.set_alias("shown", CHAMPION, 1)
    registry.set_alias("shown", PREVIOUS, 1)
    newest, oldest = registry.versions("shown")
    assert (newest.aliases, newest.snapshot, newest.vus_pr) == ((CHALLENGER,), "000002-def", None)
    assert (oldest.aliases, oldest.run, oldest.vus_pr) == ((CHAMPION, PREVIOUS), "run-1", 0.5)
    registry.set_alias("shown", CHALLENGER, None)
    assert registry.alias("shown", CHALLENGER) is None


def test_a_version_left_without_an_alias_becomes_challenger(registry: Registry) -> None:
    """Whoever registered it was killed before naming it; an older version is left as it is."""
    first = register(registry, "settled", "run-1")
    second = register(registry, "settled", "run-2")
    registry.set_alias("settled", CHALLENGER, None)
    registry.settle(first)
    assert registry.alias("settled", CHALLENGER) is None
    registry.settle(second)
    assert registry.alias("settled", CHALLENGER) == second


def test_an_unknown_watch_has_nothing(registry: Registry) -> None:
    """Asking is no error, naming a version is."""
    assert registry.versions("nobody") == []
    assert registry.alias("nobody", CHAMPION) is None
    with pytest.raises(VersionNotFoundError, match="watch nobody has no version 3; it has: none"):
        registry.get("nobody", 3)


def test_an_unknown_version_is_told_with_those_known(registry: Registry) -> None:
    """The message says what there is, and an alias to nothing is an error of the registry."""
    register(registry, "two", "run-1", history=[])
    register(registry, "two", "run-2", history=[])
    with pytest.raises(VersionNotFoundError, match="watch two has no version 3; it has: 1, 2"):
        registry.get("two", 3)
    with pytest.raises(RegistryError, match="cannot move the alias champion of two"):
        registry.set_alias("two", CHAMPION, 3)


def test_files_elsewhere_are_told() -> None:
    """Only folders of the lake can be read, wherever that lies."""
    with pytest.raises(RegistryError, match=r"version 1 of w lies at s3://bucket/x, wanted lake:///…; retrain"):
        folder_of(Registered(watch="w", version=1, source="s3://bucket/x", sha256=""))


def test_the_registry_names_no_place(fresh_database: Path, tmp_path: Path) -> None:
    """Nothing in the database of a registry with a version says where it lies: it can be moved with its lake."""
    home = tmp_path / "somewhere special"
    home.mkdir()
    shutil.copy(fresh_database, home)
    register(Registry(f"sqlite:///{home / 'registry.db'}"), "w", "run-1", history=[])
    with closing(sqlite3.connect(home / "registry.db")) as database:
        text = "\n".join(database.iterdump())
    assert "versions/w/run-1" in text
    assert "special" not in text
    places = re.findall(r"'(?:file:|/)[^']*'", text)
    assert all("mlruns" in place for place in places), places  # MLflow's own default experiment, which nobody uses


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """One clear line, no traceback of three libraries."""
    (tmp_path / "registry.db").write_bytes(b"this is no database, it is a letter" * 100)
    with pytest.raises(RegistryError, match=r"cannot open the registry sqlite:///.*registry\.db"):
        Registry(f"sqlite:///{tmp_path / 'registry.db'}")


def test_a_password_in_the_uri_is_not_told() -> None:
    """Errors end in logs."""
    with pytest.raises(RegistryError) as caught:
        Registry("nonsense://user:secret@host/db")
    assert "secret" not in str(caught.value)
    assert "host/db" in str(caught.value)


OPEN = """
import sys
from watchkeeper.registry import Registry
print(Registry(sys.argv[1]).versions("w"))
"""


def test_two_processes_may_open_a_fresh_registry_at_once(tmp_path: Path) -> None:
    """Without a lock one of them fails in the migration, and the database is left half made."""
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, uri],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert out.strip() == "[]"
    with sqlite3.connect(tmp_path / "registry.db") as database:
        assert database.execute("select count(*) from alembic_version").fetchone() == (1,)
