import inspect
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from watchkeeper.errors import SettingsError
from watchkeeper.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings files are looked for in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


def test_defaults_without_a_file() -> None:
    """Nothing has to be set."""
    assert load_settings().model_dump() == {name: field.default for name, field in Settings.model_fields.items()}


def test_the_file_stands_over_the_default(folder: Path) -> None:
    """`watchkeeper.toml` is read where it lies."""
    (folder / "watchkeeper.toml").write_text('threads = 3\nhome = "from-file"\n')
    assert load_settings().threads == 3
    assert load_settings().home == Path("from-file")


def test_the_environment_stands_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment does not name still comes from the file."""
    (folder / "watchkeeper.toml").write_text('threads = 3\nhome = "from-file"\n')
    monkeypatch.setenv("WATCHKEEPER_THREADS", "4")
    assert (load_settings().threads, load_settings().home) == (4, Path("from-file"))


def test_the_command_line_stands_over_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options replace what the environment says, and those not given leave it alone."""
    from watchkeeper.cli.app import settings as callback

    (folder / "watchkeeper.toml").write_text('lake = "file:///from/file"\n')
    monkeypatch.setenv("WATCHKEEPER_HOME", "from-environment")
    monkeypatch.setenv("WATCHKEEPER_LAKE", "file:///from/environment")
    given = dict.fromkeys(inspect.signature(callback).parameters)
    callback(**given | {"lake": "file:///from/command"})
    assert load_settings().lake == "file:///from/command"
    assert load_settings().home == Path("from-environment")


def test_an_empty_variable_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`WATCHKEEPER_THREADS=` does not hide the file."""
    (folder / "watchkeeper.toml").write_text("threads = 3\n")
    monkeypatch.setenv("WATCHKEEPER_THREADS", "")
    assert load_settings().threads == 3


def test_an_unknown_key_of_the_file_is_refused(folder: Path) -> None:
    """The message names the key and the file."""
    (folder / "watchkeeper.toml").write_text("thread = 3\n")
    with pytest.raises(SettingsError, match=r"watchkeeper\.toml.*unknown key thread"):
        load_settings()


def test_an_unknown_variable_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is not ignored in silence."""
    monkeypatch.setenv("WATCHKEEPER_THREDS", "3")
    with pytest.raises(SettingsError, match="WATCHKEEPER_THREDS is not a setting; did you mean WATCHKEEPER_THREADS"):
        load_settings()


def test_a_variable_like_no_other_gets_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no name is close, all are said."""
    monkeypatch.setenv("WATCHKEEPER_XYZZYQ", "3")
    with pytest.raises(SettingsError, match=r"known are .*WATCHKEEPER_HOME"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"), [("THREADS", "many"), ("THREADS", "0"), ("ENGINE", "ray"), ("DEVICE", "tpu")]
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says where and what was found."""
    monkeypatch.setenv(f"WATCHKEEPER_{name}", value)
    with pytest.raises(SettingsError, match=f"{name.lower()}: .*found '{value}'"):
        load_settings()


def test_a_file_that_is_no_toml_is_refused(folder: Path) -> None:
    """The message says that the file is at fault."""
    (folder / "watchkeeper.toml").write_text("threads = = 3\n")
    with pytest.raises(SettingsError, match=r"watchkeeper\.toml is not valid TOML.*line 1"):
        load_settings()


def test_a_named_file_that_is_missing_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file must be there, however it was named; the default one need not."""
    with pytest.raises(SettingsError, match=r"other\.toml: not found"):
        load_settings(folder / "other.toml")
    monkeypatch.setenv("WATCHKEEPER_CONFIG", str(folder / "third.toml"))
    with pytest.raises(SettingsError, match=r"third\.toml: not found"):
        load_settings()


def test_a_named_file_is_read_instead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default file plays no part then."""
    (folder / "watchkeeper.toml").write_text("threads = 3\n")
    (folder / "other.toml").write_text('device = "cuda"\n')
    monkeypatch.setenv("WATCHKEEPER_CONFIG", str(folder / "other.toml"))
    assert (load_settings().threads, load_settings().device) == (1, "cuda")


def test_settings_are_frozen() -> None:
    """Nobody changes them on the way down."""
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().threads = 2  # type: ignore[misc] # that is the point


def test_lake_and_registry_lie_in_home_unless_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both URIs are absolute, and each gives way to its own setting."""
    assert load_settings().lake_uri == (folder / ".watchkeeper" / "lake").as_uri()
    assert load_settings().registry_uri == f"sqlite:///{folder / '.watchkeeper' / 'registry.db'}"
    monkeypatch.setenv("WATCHKEEPER_LAKE", "file:///elsewhere")
    monkeypatch.setenv("WATCHKEEPER_REGISTRY", "sqlite:////elsewhere.db")
    assert load_settings().lake_uri == "file:///elsewhere"
    assert load_settings().registry_uri == "sqlite:////elsewhere.db"


@pytest.mark.parametrize(
    ("engine", "api", "through"),
    [
        ("auto", "", False),
        ("auto", "http://127.0.0.1:4200/api", True),
        ("direct", "http://127.0.0.1:4200/api", False),
        ("prefect", "", True),
    ],
)
def test_auto_takes_prefect_where_an_api_is(
    engine: str, api: str, through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`direct` and `prefect` do not look."""
    monkeypatch.setenv("PREFECT_API_URL", api)
    monkeypatch.setenv("WATCHKEEPER_ENGINE", engine)
    assert load_settings().runs_through_prefect is through


def test_loading_leaves_the_environment_alone() -> None:
    """Settings are handed down, not set."""
    before = dict(os.environ)
    load_settings()
    assert dict(os.environ) == before
