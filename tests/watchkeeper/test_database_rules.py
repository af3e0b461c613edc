from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from watchkeeper.databases import SqlSource, time_of
from watchkeeper.errors import WatchError
from watchkeeper.watch import load_watch

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
QUERY = "SELECT t AS timestamp, s AS series, a::real FROM r WHERE t >= :start AND t < :end AND c <> '12:30'"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("now", NOW),
        ("-2w", NOW - timedelta(days=14)),
        ("-30d", NOW - timedelta(days=30)),
        ("-12h", NOW - timedelta(hours=12)),
        ("-90m", NOW - timedelta(minutes=90)),
        ("-45s", NOW - timedelta(seconds=45)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_times(text: str, wanted: datetime) -> None:
    """Absolute, relative and now; UTC unless it says otherwise."""
    assert time_of(text, NOW) == wanted


def test_times_of_toml_are_times_too() -> None:
    """A file may write them with quotes or without."""
    source = SqlSource(kind="sql", url="sqlite:///x", query=QUERY, since=date(2026, 1, 31), until=NOW)
    assert (time_of(source.since, NOW), time_of(source.until, NOW)) == (datetime(2026, 1, 31, tzinfo=UTC), NOW)


def test_a_source_that_was_written_out_is_read_again() -> None:
    """With its defaults, which are no rule of anybody's."""
    source = SqlSource(kind="sql", url="sqlite:///x", query=QUERY)
    assert SqlSource.model_validate_json(source.model_dump_json()) == source


@pytest.mark.parametrize("text", ["", "yesterday", "30d", "-30", "-1.5h", "-d", "2026-13-01", "-999999999w", 7])
def test_what_is_no_time_is_refused(text: object) -> None:
    """Rather than guessed."""
    with pytest.raises(ValidationError):
        SqlSource(kind="sql", url="sqlite:///x", query=QUERY, since=text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('url = "postgresql://me:hunter2@db/x"', "a watch file holds no secret"),
        ('url = "postgresql://me:hun/t@er2@db/x"', "a watch file holds no secret"),
        ('url = "postgresql://db/x?password=hunter2"', "a watch file holds no secret"),
        ('url = "db/x"', "no database URL"),
        ("since = '-30x'", "no time; wanted one like"),
        ("query = 'SELECT 1'", "must be limited to"),
        ("query = 'SELECT :start'", "must be limited to"),
        ("query = 'SELECT :start, :end, :unit'", "no other parameter; it has :unit"),
        ("every = 1", "unknown key source.sql.every"),
        ("gap = 'nan'", "are for bins; set every_s"),
        ("every_s = 60\ngap = 'hold'", "needs hold_s"),
        ("every_s = 60\nhold_s = 60", 'gap = "hold" needs hold_s, how long at most, and nothing else does'),
        ("every_s = 60\ngap = 'hold'\nhold_s = 30", "nothing would be held"),
        ("every_s = 60\naggregates = { a = 'mode' }", "source.sql.aggregates.a"),
    ],
)
def test_a_watch_file_that_is_wrong_says_so_without_the_secret(tmp_path: Path, line: str, said: str) -> None:
    """One line that names the key; what stands where a password does is not repeated."""
    keys = {"url": '"sqlite:///x"', "query": f'"{QUERY}"'}
    lines = [f"{key} = {value}" for key, value in keys.items() if not line.startswith(key)]
    (tmp_path / "w.toml").write_text("\n".join(["[source]", 'kind = "sql"', *lines, line]))
    with pytest.raises(WatchError) as error:
        load_watch("w", tmp_path)
    assert said in str(error.value)
    assert "hun" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('url = "prometheus:9090"', "no address of a server"),
        ('url = "http://me:hunter2@prometheus:9090"', "no user belongs here"),
        ('token = "hunter2"', "a watch file holds no secret"),
        ('user = "me"\npassword = "hunter2"', "a watch file holds no secret"),
        ('user = "me"', "wanted user and password, or token"),
        ('user = "me"\npassword = "$A"\ntoken = "$B"', "wanted user and password, or token"),
        ("step_s = 0.0015", "wanted whole milliseconds"),
        ("queries = {}", "source.prometheus.queries"),
    ],
)
def test_a_prometheus_that_is_wrong_says_so_without_the_secret(tmp_path: Path, line: str, said: str) -> None:
    """The same of the other kind."""
    keys = {"url": '"http://prometheus:9090"', "queries": '{ load = "node_load1" }'}
    lines = [f"{key} = {value}" for key, value in keys.items() if not line.startswith(key)]
    (tmp_path / "w.toml").write_text("\n".join(["[source]", 'kind = "prometheus"', *lines, line]))
    with pytest.raises(WatchError) as error:
        load_watch("w", tmp_path)
    assert said in str(error.value)
    assert "hun" not in str(error.value)
    assert "\n" not in str(error.value)
