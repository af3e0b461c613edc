"""Files in a bucket, on two real servers: the same rows as from a folder, each fetched once."""

import gzip
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.ingest import ingest
from tasks.look import Choice
from tasks.look.look import look
from tasks.look.writer import write_watch
from tasks.rows import read_rows, require_snapshot
from tasks.sources import bucket, read_source
from tests.conftest import S3Server, SourceFolder
from watchkeeper.errors import DataError, LakeError, SettingsError
from watchkeeper.lake import Lake
from watchkeeper.sources import BenchmarkSource, ParquetSource
from watchkeeper.watch import Watch, load_watch


def upload(folder: Path) -> str:
    """Put a folder's files under a prefix of its own; returns its URI."""
    prefix = f"s3://lakes/{uuid.uuid4()}"
    lake = Lake(prefix)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            lake.put(path.relative_to(folder).as_posix(), path.read_bytes())
    return prefix


def rows_of(lake: Lake, watch: str = "unit") -> dict[str, tuple[Any, Any]]:
    snapshot = require_snapshot(lake, watch)
    found = {series: read_rows(lake, snapshot, series, snapshot.channels) for series in snapshot.series}
    return {series: (rows.timestamps.tolist(), rows.values.tolist()) for series, rows in found.items()}


@pytest.mark.usefixtures("s3_server")
def test_a_bucket_is_as_good_as_a_folder(source: SourceFolder, tmp_path: Path) -> None:
    """Two series, one of them in two files, come in with the same rows; a second ingest fetches nothing."""
    source.write("a.1", source.table(60))
    source.write("a.2", source.table(100, 60))
    source.write("b", source.table(40, seed=1))
    (source.folder / "notes.txt").write_text("not asked for")
    uri = upload(source.folder)
    near, far = Lake((tmp_path / "near").as_uri()), Lake((tmp_path / "far").as_uri())
    ingest(near.uri, source.watch())
    watch = source.watch(source={"kind": "parquet", "folder": uri})
    assert ingest(far.uri, watch).new_rows == 140
    assert rows_of(far) == rows_of(near)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "fetch", lambda *_: pytest.fail("fetched again"))
        assert ingest(far.uri, watch).new_rows == 0
    Lake(uri).put("b.2.parquet", (source.write("b.2", source.table(50, 40, seed=1))).read_bytes())
    fetched: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        whole = bucket.fetch
        patch.setattr(bucket, "fetch", lambda lake, key, path: (fetched.append(key), whole(lake, key, path)))
        assert ingest(far.uri, watch).new_rows == 10
    assert fetched == ["b.2.parquet"]


@pytest.mark.usefixtures("s3_server")
def test_line_protocol_of_several_series(tmp_path: Path, lake: Lake) -> None:
    """One object with two series is fetched once; a later one may lack a channel."""
    folder = tmp_path / "up"
    folder.mkdir()
    (folder / "a.lp").write_text("".join(f"m,u={u} x={at},y=1 {at}\n" for at in range(20) for u in "pq"))
    uri = upload(folder)
    watch = Watch(name="unit", source={"kind": "lines", "folder": uri, "series": "u", "precision": "s"})
    assert ingest(lake.uri, watch).new_rows == 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "fetch", lambda *_: pytest.fail("fetched again"))
        assert ingest(lake.uri, watch).new_rows == 0
    Lake(uri).put("b.lp", b"m,u=q x=9 20\n")
    assert ingest(lake.uri, watch).new_rows == 1
    assert rows_of(lake)["q"][1][-2][0] == 19


@pytest.mark.usefixtures("s3_server")
def test_an_object_that_grew_is_read_again(source: SourceFolder, lake: Lake) -> None:
    """Under the same key, more rows are new rows."""
    source.write("a", source.table(50))
    uri = upload(source.folder)
    watch = source.watch(source={"kind": "parquet", "folder": uri})
    assert ingest(lake.uri, watch).new_rows == 50
    Lake(uri).put("a.parquet", source.write("a", source.table(80)).read_bytes())
    assert ingest(lake.uri, watch).new_rows == 30


@pytest.mark.usefixtures("s3_server")
def test_files_of_one_name_in_two_folders(source: SourceFolder, lake: Lake) -> None:
    """They are one series, and neither is taken for the other."""
    for day, (first, stop) in {"d1": (0, 30), "d2": (30, 50)}.items():
        (source.folder / day).mkdir()
        pq.write_table(source.table(stop, first), source.folder / day / "a.parquet")
    watch = source.watch(source={"kind": "parquet", "folder": upload(source.folder), "files": "*/*.parquet"})
    assert ingest(lake.uri, watch).new_rows == 50
    assert ingest(lake.uri, watch).new_rows == 0


@pytest.mark.usefixtures("s3_server")
def test_looked_at_and_taken_in(tmp_path: Path) -> None:
    """A prefix of packed CSV is looked at, and the watch file takes in what was reported."""
    folder = tmp_path / "up"
    folder.mkdir()
    text = "zeit;wert;s\n" + "".join(f"05.01.2026 00:{at:02d};{at % 5},5;{s}\n" for at in range(60) for s in "xy")
    (folder / "all.csv.gz").write_bytes(gzip.compress(text.encode("latin-1")))
    found = look(upload(folder), Choice(series="s"), datetime.now(UTC))
    (tmp_path / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    watch = load_watch("w", tmp_path)
    assert watch.source.folder.startswith("s3://lakes/")  # type: ignore[union-attr] # it is a folder's
    done = ingest((tmp_path / "lake").as_uri(), watch)
    assert (done.rows, found.rows, found.series) == (120, 120, ("x", "y"))
    assert ingest((tmp_path / "lake").as_uri(), watch).new_rows == 0


@pytest.mark.usefixtures("s3_server")
def test_a_large_parquet_is_not_fetched_to_be_looked_at(source: SourceFolder) -> None:
    """Of a file with many rows, footer and some row groups are asked for."""
    pq.write_table(source.table(40_000), source.folder / "a.parquet", row_group_size=2_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.look.tables.BUDGET", 9_000)
        found = look(upload(source.folder), Choice(), datetime(2027, 1, 1, tzinfo=UTC))
    assert not found.whole
    assert abs(found.rows - 40_000) < 400


@pytest.mark.parametrize(
    ("place", "reason", "error"),
    [
        ("s3://nobody-has-this/x", "has no bucket", LakeError),
        ("s3://lakes/nothing-here", "holds no tables", DataError),
        ("s3://lakes/a?b=c", "wanted s3://bucket/prefix", SettingsError),
    ],
)
@pytest.mark.usefixtures("s3_server")
def test_buckets_that_are_not_there(place: str, reason: str, error: type[Exception]) -> None:
    """Each has its own line."""
    with pytest.raises(error, match=reason):
        look(place, Choice(), datetime.now(UTC))


@pytest.mark.usefixtures("s3_server")
def test_sources_that_a_bucket_is_not_for() -> None:
    """A benchmark's folder has to be one; a pattern that nothing matches is said."""
    with pytest.raises(DataError, match="for kind"):
        list(read_source(BenchmarkSource(kind="benchmark", format="smd", folder="s3://lakes/x"), None))
    with pytest.raises(DataError, match=r"holds no file \*.parquet"):
        list(read_source(ParquetSource(kind="parquet", folder="s3://lakes/nothing-here"), None))


def test_a_server_that_went_away(own_s3_server: S3Server, source: SourceFolder, lake: Lake) -> None:
    """One line, nothing published; when it is back, every row comes in once."""
    source.write("a", source.table(50))
    uri = upload(source.folder)
    watch = source.watch(source={"kind": "parquet", "folder": uri})
    own_s3_server.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("watchkeeper.s3.ATTEMPTS", 1)
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # makes a client of its own
        with pytest.raises(LakeError, match="is the server up"):
            ingest(lake.uri, watch)
    assert lake.list("snapshots") == []
    own_s3_server.start()
    assert ingest(lake.uri, watch).new_rows == 50
