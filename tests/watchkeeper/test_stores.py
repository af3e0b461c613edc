"""What every store must do, through the lake: a folder, and buckets of two real S3 servers."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from watchkeeper.errors import LakeError, ObjectNotFoundError
from watchkeeper.lake import ROW_GROUP, Lake
from watchkeeper.stores import UNPUBLISHED, Entry

REPOSITORY = Path(__file__).parents[2]
ODD_KEYS = (
    "größe/日本/😀.json", "with blank/and+plus", "series=a&b/date=2026-01-05/x", "percent%41/100%", "hash#/question?",
    "quote'/\"double\"", "tilde~/~", "a..b/c...d", "comma,/semicolon;/colon:",
)  # fmt: skip
LARGE = 40 * 2**20
"""Bytes: three parts."""


def table(rows: int, columns: int = 4) -> pa.Table:
    values = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    return pa.table({f"c{index}": values[:, index] for index in range(columns)})


def test_an_object_comes_back(any_lake: Lake) -> None:
    """Bytes, no byte at all, JSON and tables read as they were written."""
    any_lake.put("a/b", b"\x00\xff\r\n")
    any_lake.put("empty", b"")
    any_lake.put_json("a/c.json", {"größe": [1, None]})
    any_lake.put_table("a/t.parquet", table(10))
    assert any_lake.get("a/b") == b"\x00\xff\r\n"
    assert any_lake.get("empty") == b""
    assert any_lake.get_json("a/c.json") == {"größe": [1, None]}
    assert any_lake.get_table("a/t.parquet").equals(table(10))
    assert any_lake.get_table("a/t.parquet", ["c2", "c0"]).equals(table(10).select(["c2", "c0"]))


def test_existence_is_of_whole_keys(any_lake: Lake) -> None:
    """Neither a folder nor the beginning of a name is an object."""
    any_lake.put("a/bc", b"1")
    assert any_lake.exists("a/bc")
    assert not any_lake.exists("a")
    assert not any_lake.exists("a/b")
    assert not any_lake.exists("a/bc/d")


def test_a_listing_is_of_a_folder(any_lake: Lake) -> None:
    """Sorted, with everything below it, and nothing of a folder whose name begins alike."""
    keys = ["x/b", "x/a/c", "x2/d", "x/a/b", "y"]
    for key in keys:
        any_lake.put(key, b"1")
    assert any_lake.list("x") == ["x/a/b", "x/a/c", "x/b"]
    assert any_lake.list("x/") == any_lake.list("x")
    assert any_lake.list("") == sorted(keys)
    assert any_lake.list("nowhere") == []
    assert any_lake.list("x/a/b") == []


def test_lakes_of_one_bucket_do_not_see_each_other(any_lake: Lake) -> None:
    """A prefix is a lake of its own, and one that begins alike is another."""
    any_lake.put("a", b"1")
    assert Lake(f"{any_lake.uri}2").list("") == []
    assert Lake(f"{any_lake.uri}/").get("a") == b"1"
    assert any_lake.uri_of("a") == f"{any_lake.uri}/a"


def test_entries_tell_size_and_age(any_lake: Lake) -> None:
    """What garbage collection needs, in UTC."""
    before = datetime.now(UTC) - timedelta(seconds=5)  # servers may round down, file systems too
    any_lake.put("x/b", b"12345")
    any_lake.put("x/a", b"")
    any_lake.put("y", b"1")
    first, second = any_lake.entries("x")
    assert (first.key, first.size, second.key, second.size) == ("x/a", 0, "x/b", 5)
    assert [entry.key for entry in any_lake.entries("")] == ["x/a", "x/b", "y"]
    for entry in (first, second):
        assert entry.modified.tzinfo is UTC
        assert before <= entry.modified <= datetime.now(UTC) + timedelta(seconds=5)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_names_of_people_and_machines_are_keys(any_lake: Lake, key: str) -> None:
    """Umlauts, blanks and signs that URLs know come back as they went."""
    any_lake.put(key, key.encode())
    assert any_lake.list("") == [key]
    assert any_lake.list(key.partition("/")[0]) == [key]
    assert any_lake.exists(key)
    assert any_lake.get(key) == key.encode()
    any_lake.delete(key)
    assert any_lake.list("") == []


def test_more_keys_than_a_page_are_all_listed(any_lake: Lake) -> None:
    """S3 lists a thousand at a time."""
    keys = [f"many/{number:04d}" for number in range(1003)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: any_lake.put(key, b""), keys))
    assert any_lake.list("many") == keys


def test_a_deleted_object_is_gone(any_lake: Lake) -> None:
    """Its neighbours stay; to delete it again is no error; its key may be written again."""
    any_lake.put("a/b", b"1")
    any_lake.put("a/bc", b"2")
    any_lake.delete("a/b")
    any_lake.delete("a/b")
    any_lake.delete("nowhere/at/all")
    assert not any_lake.exists("a/b")
    assert any_lake.list("") == ["a/bc"]
    any_lake.put("a/b", b"3")
    assert any_lake.get("a/b") == b"3"


def test_equal_content_may_be_written_again(any_lake: Lake) -> None:
    """A rerun after a kill does so."""
    for _ in range(2):
        any_lake.put("a/b", b"1")
    assert any_lake.get("a/b") == b"1"
    assert any_lake.list("") == ["a/b"]


def test_a_large_object_comes_back(any_lake: Lake) -> None:
    """On S3 it goes in parts, and leaves none behind."""
    data = np.random.default_rng(0).bytes(LARGE)
    any_lake.put("large", data)
    assert any_lake.get("large") == data
    assert any_lake.entries("")[0].size == LARGE
    assert any_lake.leftovers() == []


def test_a_table_is_read_by_batches(any_lake: Lake) -> None:
    """Together they are the table; chosen columns come in the order in which they were asked for."""
    whole = table(2 * ROW_GROUP + 1000)
    any_lake.put_table("t.parquet", whole)
    batches = list(any_lake.iter_batches("t.parquet", batch_rows=50_000))
    assert max(len(batch) for batch in batches) <= 50_000
    assert pa.Table.from_batches(batches).equals(whole)
    chosen = pa.Table.from_batches(list(any_lake.iter_batches("t.parquet", ["c3", "c1"])))
    assert chosen.equals(whole.select(["c3", "c1"]))
    with any_lake.open_table("t.parquet") as file:
        assert (file.num_row_groups, file.metadata.num_rows) == (3, len(whole))
        group = file.read_row_group(1, ["c2"], use_threads=False)
    assert group.equals(whole.slice(ROW_GROUP, ROW_GROUP).select(["c2"]))


@pytest.mark.parametrize("cut", [50_000, ROW_GROUP, 3 * ROW_GROUP])
def test_a_table_written_piece_by_piece_has_the_same_bytes(any_lake: Lake, cut: int) -> None:
    """However its rows are cut; that of no rows too."""
    whole = table(2 * ROW_GROUP + 1000)
    pieces = (whole.slice(first, cut) for first in range(0, len(whole), cut))
    any_lake.put_tables("pieces.parquet", whole.schema, pieces)
    any_lake.put_table("whole.parquet", whole)
    assert any_lake.get("pieces.parquet") == any_lake.get("whole.parquet")
    any_lake.put_tables("none.parquet", whole.schema, [])
    assert any_lake.get_table("none.parquet").equals(whole.schema.empty_table())


def test_tables_that_end_in_an_error_publish_nothing(any_lake: Lake) -> None:
    """Neither the object nor a leftover, after rows enough for a part of their own; an old object stays."""
    whole = table(3 * ROW_GROUP, 12)  # 19 MB

    def pieces() -> Iterator[pa.Table]:
        yield whole
        raise LakeError("the raw rows are gone")

    any_lake.put("x/old", b"old")
    for key in ("x/new", "x/old"):
        with pytest.raises(LakeError, match="the raw rows are gone"):
            any_lake.put_tables(key, whole.schema, pieces())
    assert [(entry.key, entry.size) for entry in any_lake.entries("")] == [("x/old", 3)]
    assert any_lake.leftovers() == []
    with pytest.raises(LakeError, match="the name of what is not published"):
        any_lake.put_tables(f"x/{UNPUBLISHED}new", whole.schema, [])


def test_batches_do_not_hold_the_table(any_lake: Lake) -> None:
    """Of twelve row groups, memory never has half; read as a whole, the table is held at once."""
    whole = table(12 * ROW_GROUP, 8)
    size = whole.nbytes
    any_lake.put_table("t.parquet", whole)
    del whole
    before = pa.total_allocated_bytes()
    most = rows = 0
    for batch in any_lake.iter_batches("t.parquet"):
        rows += len(batch)
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 12 * ROW_GROUP
    assert most < size / 2
    held = any_lake.get_table("t.parquet")
    assert pa.total_allocated_bytes() - before >= held.nbytes


def test_many_objects_are_read_in_their_order(any_lake: Lake) -> None:
    """Several at a time, whatever their number; none is no trouble, and a missing one is told."""
    for number in range(40):
        any_lake.put_json(f"j/{number:02d}.json", number)
        any_lake.put_table(f"t/{number:02d}.parquet", pa.table({"a": [number]}))
    assert list(any_lake.get_jsons(any_lake.list("j"))) == list(range(40))
    assert [found["a"][0].as_py() for found in any_lake.get_tables(reversed(any_lake.list("t")))] == [
        *range(39, -1, -1)
    ]
    assert list(any_lake.get_tables([])) == []
    with pytest.raises(ObjectNotFoundError, match="nowhere"):
        list(any_lake.get_jsons(["j/00.json", "nowhere", "j/01.json"]))


def test_what_is_not_there_is_told_with_its_place(any_lake: Lake) -> None:
    """However it is read."""
    reads = (any_lake.get, any_lake.get_json, any_lake.get_table, lambda key: list(any_lake.iter_batches(key)))
    for read in reads:
        with pytest.raises(ObjectNotFoundError, match=r"cannot read .*no/where"):
            read("no/where")


def test_damaged_objects_are_told(any_lake: Lake) -> None:
    """What is no JSON or no Parquet is said to be none, read as a whole or by batches."""
    any_lake.put("a.json", b"{")
    with pytest.raises(LakeError, match=r"a\.json is no JSON"):
        any_lake.get_json("a.json")
    for data in (b"", b"nothing", b"PAR1 and nothing more"):
        any_lake.put("a.parquet", data)
        for read in (any_lake.get_table, lambda key: list(any_lake.iter_batches(key))):
            with pytest.raises(LakeError, match=r"a\.parquet is no Parquet file"):
                read("a.parquet")


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd", "a/.."])
def test_a_key_that_leaves_the_lake_is_refused(any_lake: Lake, key: str) -> None:
    """No call follows it."""
    calls = (
        any_lake.get, any_lake.get_table, any_lake.exists, any_lake.list, any_lake.entries, any_lake.delete,
        lambda name: any_lake.put(name, b""), lambda name: list(any_lake.iter_batches(name)),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(LakeError, match="leaves the lake"):
            call(key)


def test_the_name_of_what_is_unpublished_cannot_be_published(any_lake: Lake) -> None:
    """A listing would not show it, and collection would take it for a leftover."""
    with pytest.raises(LakeError, match="not published"):
        any_lake.put(f"a/{UNPUBLISHED}x", b"1")


def test_leftovers_are_listed_and_can_be_deleted(any_lake: Lake) -> None:
    """What a killed writer left is no object; its key is good for deletion, twice, and harms no object."""
    any_lake.put("x/whole", b"1")
    leave_something(any_lake, "x/whole")
    assert any_lake.list("") == ["x/whole"]
    (left,) = any_lake.leftovers()
    assert isinstance(left, Entry)
    assert left.key.startswith("x/")
    assert left.key.rpartition("/")[2].startswith(UNPUBLISHED)
    assert left.modified.tzinfo is UTC
    any_lake.delete(left.key)
    any_lake.delete(left.key)
    assert any_lake.leftovers() == []
    assert any_lake.get("x/whole") == b"1"


def leave_something(lake: Lake, key: str) -> None:
    """Leave what a writer of the key leaves that is killed half way."""
    if lake.uri.startswith("file:"):
        lake.path(key).with_name(f"{UNPUBLISHED}dead").write_bytes(b"half")
    else:
        import boto3

        bucket, _, prefix = lake.uri.removeprefix("s3://").partition("/")
        client = boto3.session.Session().client("s3")
        begun = client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/{key}")
        client.upload_part(Bucket=bucket, Key=f"{prefix}/{key}", UploadId=begun["UploadId"], PartNumber=1, Body=b"half")
        client.close()


WRITE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from watchkeeper.lake import Lake

def write(writer):
    lake = Lake(sys.argv[1])
    for number in range(6):
        key = f"own/{sys.argv[2]}-{writer}/{number}"
        lake.put(key, key.encode() * 1000)
        lake.put(f"shared/{number}", b"the same" * 1000)

with ThreadPoolExecutor(8) as pool:
    list(pool.map(write, range(8)))
"""


def test_32_parallel_writers_lose_nothing(any_lake: Lake) -> None:
    """Eight threads in each of four processes write keys of their own, and equal content under the same keys."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, any_lake.uri, str(number)], cwd=REPOSITORY, stderr=subprocess.PIPE
        )
        for number in range(4)
    ]
    for process in processes:
        _, error = process.communicate(timeout=200)
        assert process.returncode == 0, error.decode()
    own = [f"own/{process}-{writer}/{number}" for process in range(4) for writer in range(8) for number in range(6)]
    shared = [f"shared/{number}" for number in range(6)]
    assert any_lake.list("") == sorted(own + shared)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(any_lake.get, own)) == [key.encode() * 1000 for key in own]
    assert {any_lake.get(key) for key in shared} == {b"the same" * 1000}
    assert any_lake.leftovers() == []
