"""Settings: one frozen, typed object, loaded once at the edge and passed down in narrow parts.

Order: command line over environment (`WATCHKEEPER_…`) over file (`watchkeeper.toml`) over default. Unknown keys are
errors, in the environment too: a misspelt setting that is silently ignored is found at three in the morning.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from watchkeeper.errors import SettingsError

ENV_PREFIX = "WATCHKEEPER_"
CONFIG_FILE = "watchkeeper.toml"


class Settings(BaseSettings):
    """Where things are and how they run. What is watched, and how, stands in a watch file (watchkeeper/watch.py).

    Attributes:
        home: folder for everything that Watchkeeper keeps when nothing else is said.
        lake: where data and versions live: `file:///folder` or `s3://bucket/prefix`; default `<home>/lake`. Endpoint
            and credentials of an S3 store are AWS's own variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …).
        registry: MLflow's tracking and registry store: `sqlite:///…`; default `<home>/registry.db`.
        watches: folder of watch files.
        data: folder of labelled benchmark series that watches may name as `$WATCHKEEPER_DATA`.
        engine: `direct` runs flows as plain calls in this process; `prefect` runs them through Prefect; `auto` takes
            Prefect when an API is configured (`PREFECT_API_URL`).
        device: where networks train: `cpu`, or `cuda` on a machine that has one.
        threads: CPU threads for training; one gives bit-equal versions on machines of any core count.
        metrics: where flows leave figures for Prometheus: `file:///folder` of a node exporter's textfile collector, or
            a Pushgateway's `http://host:9091`; by default nowhere.
        notify: the Prefect notification block that tells people of failed flows, as `slack-webhook/ops`
            (watchkeeper/notify.py).
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Path(".watchkeeper")
    lake: str = ""
    registry: str = ""
    watches: Path = Path("watches")
    data: Path | None = None
    engine: Literal["auto", "direct", "prefect"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1)
    metrics: str = ""
    notify: str = ""

    @field_validator("metrics")
    @classmethod
    def _place(cls, metrics: str) -> str:
        if metrics and not re.fullmatch(r"file:///.+|https?://[^/@]+(/.*)?", metrics):
            raise ValueError("wanted file:///folder or a Pushgateway's http://host:9091")
        return metrics

    @field_validator("notify")
    @classmethod
    def _block(cls, notify: str) -> str:
        if notify and not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", notify):
            raise ValueError("wanted the type and the name of a notification block, as slack-webhook/ops")
        return notify

    @property
    def lake_uri(self) -> str:
        """The lake's URI, absolute."""
        return self.lake or (self.home / "lake").absolute().as_uri()

    @property
    def registry_uri(self) -> str:
        """The registry's URI, absolute."""
        return self.registry or f"sqlite:///{(self.home / 'registry.db').absolute()}"

    @property
    def runs_through_prefect(self) -> bool:
        """Whether flows go through Prefect's engine."""
        return self.engine == "prefect" or (self.engine == "auto" and bool(os.environ.get("PREFECT_API_URL")))


def load_settings(config: Path | None = None) -> Settings:
    """Load the settings from the environment, the file and the defaults.

    The command line hands its options over as environment variables of its own process, so that a flow that Prefect
    runs finds the same settings as a flow that is called directly.

    Args:
        config: the settings file; default `watchkeeper.toml` in the current folder, which may be absent.

    Raises:
        SettingsError: a key is unknown, a value is of the wrong kind, or the named file is missing.
    """
    named = config or (Path(path) if (path := os.environ.get(f"{ENV_PREFIX}CONFIG")) else None)
    if named and not named.is_file():
        raise SettingsError(f"settings file {named}: not found")
    file = named or Path(CONFIG_FILE)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - part of the signature; no .env file is read
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    _refuse_unknown_environment()
    try:
        return Loaded()
    except ValidationError as error:
        raise SettingsError(f"settings ({file} and {ENV_PREFIX}… variables): {first_problem(error)}") from error
    except ValueError as error:  # tomllib's message says line and column
        raise SettingsError(f"settings file {file} is not valid TOML: {error}") from error


def _refuse_unknown_environment() -> None:
    known = sorted(["CONFIG", *(name.upper() for name in Settings.model_fields)])
    for key in sorted(os.environ):
        name = key.removeprefix(ENV_PREFIX)
        if key.startswith(ENV_PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)  # without the prefix, which makes all names alike
            names = ", ".join(f"{ENV_PREFIX}{one}" for one in known)
            hint = f"did you mean {ENV_PREFIX}{close[0]}?" if close else f"known are {names}"
            raise SettingsError(f"environment variable {key} is not a setting; {hint}")


def first_problem(error: ValidationError) -> str:
    """Say the first problem that pydantic found in one line: where, what was found, what was wanted."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "file"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where}"
    shown = re.sub(r"//\S*@", "//…@", repr(problem["input"]))  # a URI may hold a password, here or in its query
    shown = re.sub(r"(password|token)=[^&'\"]*", r"\1=…", shown)
    secret = problem["loc"][-1:] in (("password",), ("token",))
    # A table that does not hold together says itself what was found.
    told = problem["type"] == "missing" or (problem["type"] == "value_error" and isinstance(problem["input"], dict))
    found = "" if told or secret else f", found {shown}"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}"
