"""Where a score run goes on, and how little of the lake it looks at to know."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.score import RECENT_DAYS, watermark
from watchkeeper.clock import to_microseconds
from watchkeeper.lake import Lake

NEWEST = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write(lake: Lake, version: int, day: int, hour: int = 5) -> int:
    """Write scores of an hour, so many days before the newest row, and return its end."""
    start = NEWEST.replace(hour=hour) - timedelta(days=day)
    end = to_microseconds(start + timedelta(hours=1))
    folder = f"scores/watch=w/series=s/date={start:%Y-%m-%d}"
    lake.put(f"{folder}/v{version:06d}-{to_microseconds(start)}-{end}.parquet", b"")
    return end


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=st.lists(st.tuples(st.integers(1, 2), st.integers(0, 40), st.integers(0, 22)), max_size=8), data=st.data()
)
def test_it_is_the_newest_row_of_the_version(tmp_path_factory, written, data) -> None:
    """As a look at everything would say, wherever the version stopped."""
    lake = Lake(tmp_path_factory.mktemp("lake").as_uri())
    ends = [(version, write(lake, version, day, hour)) for version, day, hour in written]
    version = data.draw(st.integers(1, 2))
    wanted = max((end for by, end in ends if by == version), default=None)
    assert watermark(lake, "w", "s", version, NEWEST) == wanted


def test_another_series_and_watch_do_not_count(lake: Lake) -> None:
    """Nor one whose name begins alike."""
    end = to_microseconds(NEWEST)
    for folder in ("watch=w/series=s2", "watch=w2/series=s", "watch=w/series=other"):
        lake.put(f"scores/{folder}/date=2026-03-01/v000001-0-{end}.parquet", b"")
    assert watermark(lake, "w", "s", 1, NEWEST) is None


@pytest.mark.parametrize("day", range(RECENT_DAYS))
def test_a_scheduled_run_lists_a_few_days(lake: Lake, monkeypatch: pytest.MonkeyPatch, day: int) -> None:
    """However many years of scores there are."""
    for old in range(day, 400):
        end = write(lake, 1, old)
    end = write(lake, 1, day)
    seen = []
    whole = Lake.list
    monkeypatch.setattr(Lake, "list", lambda lake, prefix: seen.append(whole(lake, prefix)) or seen[-1])
    assert watermark(lake, "w", "s", 1, NEWEST) == end
    assert [len(keys) for keys in seen] == [0] * day + [1]
