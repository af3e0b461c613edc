import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from watchkeeper.errors import LakeError, ObjectNotFoundError, SettingsError
from watchkeeper.lake import UNPUBLISHED, Lake, digest, digest_of, parquet_bytes

IN_ONE_LAKE = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def files(lake: Lake) -> list[Path]:
    """Everything that lies in the lake's folder, published or not."""
    return [path for path in lake.path("").rglob("*") if path.is_file()]


@IN_ONE_LAKE
@given(data=st.binary(max_size=200))
def test_bytes_come_back(lake: Lake, data: bytes) -> None:
    """An object reads as it was written."""
    lake.put("some/object", data)
    assert lake.get("some/object") == data


@IN_ONE_LAKE
@given(value=JSON)
def test_json_comes_back(lake: Lake, value: Any) -> None:
    """Any JSON value reads as it was written."""
    lake.put_json("some/value.json", value)
    assert lake.get_json("some/value.json") == value


@IN_ONE_LAKE
@given(
    values=arrays(np.float32, st.integers(0, 30), elements=st.floats(width=32, allow_subnormal=True)),
    data=st.data(),
)
def test_tables_come_back_to_the_last_bit(lake: Lake, values: np.ndarray, data: st.DataObject) -> None:
    """NaN stays NaN and is no missing value, a missing value stays missing, and infinity passes."""
    names = data.draw(st.lists(st.none() | st.text(max_size=4), min_size=len(values), max_size=len(values)))
    times = pa.array(np.arange(len(values)), pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"timestamp": times, "a": pa.array(values), "name": pa.array(names, pa.string())})
    lake.put_table("some/table.parquet", table)
    back = lake.get_table("some/table.parquet")
    assert back.schema == table.schema
    assert back["a"].null_count == 0
    assert back["a"].to_numpy().tobytes() == values.tobytes()
    assert back.drop_columns("a").equals(table.drop_columns("a"))


def test_columns_can_be_chosen(lake: Lake) -> None:
    """Only what is asked for is read, in that order."""
    lake.put_table("t.parquet", pa.table({"a": [1], "b": [2], "c": [3]}))
    assert lake.get_table("t.parquet", ["c", "a"]).to_pydict() == {"c": [3], "a": [1]}


def test_equal_content_is_equal_bytes(lake: Lake) -> None:
    """Neither the order of keys nor the moment of writing shows."""
    lake.put_json("one.json", {"a": 1, "b": [2.5, None]})
    lake.put_json("two.json", {"b": [2.5, None], "a": 1})
    assert lake.get("one.json") == lake.get("two.json")
    table = pa.table({"a": [1.0, float("nan")]})
    assert digest(parquet_bytes(table)) == digest(parquet_bytes(pa.table({"a": [1.0, float("nan")]})))
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_the_digest_is_sha256() -> None:
    """The digest of "abc" is in FIPS 180."""
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_without_a_number_is_refused(lake: Lake) -> None:
    """NaN is no JSON, so nothing is written."""
    with pytest.raises(ValueError, match="JSON"):
        lake.put_json("bad.json", {"a": float("nan")})
    assert files(lake) == []


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd", "a/.."])
def test_a_key_that_leaves_the_lake_is_refused(lake: Lake, key: str) -> None:
    """Neither reading, writing nor listing follows it."""
    for call in (lake.get, lake.exists, lake.list, lambda name: lake.put(name, b"")):
        with pytest.raises(LakeError, match="leaves the lake"):
            call(key)


def test_an_entry_that_goes_while_it_is_listed_is_left_out(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing is no lock: collection may delete, and a writer may publish, what has just been seen."""
    for key in ("a", "b", "c"):
        lake.put(key, b"1")
    whole = Path.is_file

    def is_file(path: Path) -> bool:
        found = whole(path)
        if path.name == "b":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", is_file)
    assert lake.list("") == ["a", "c"]


def test_what_may_not_be_read_is_not_taken_for_missing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is no missing object: a version must not be given up for it."""

    def fail(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    lake.put("a", b"1")
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(LakeError, match=r"cannot read .*Input/output error; check the disk") as caught:
        lake.get("a")
    assert not isinstance(caught.value, ObjectNotFoundError)


def test_dots_inside_a_name_are_no_way_out(lake: Lake) -> None:
    """Only a part that is `..` leaves."""
    lake.put("a..b/c...d", b"1")
    assert lake.list("a..b") == ["a..b/c...d"]


def test_list_is_sorted_and_hides_what_is_unpublished(lake: Lake) -> None:
    """What a killed process left behind is not there, and a folder is no prefix of names."""
    for key in ("x/b", "x/a/c", "x2/d", "x/a/b"):
        lake.put(key, b"1")
    (lake.path("x") / f"{UNPUBLISHED}dead").write_bytes(b"half")
    assert lake.list("x") == ["x/a/b", "x/a/c", "x/b"]
    assert lake.list("nowhere") == []


@pytest.mark.parametrize("where", ["fsync", "replace", "write"])
def test_a_write_that_fails_half_way_leaves_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """No object under its key, no litter, and what was there before still is."""
    lake.put("x/old", b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if where == "write":
            whole = Path.open
            patch.setattr(Path, "open", lambda self, *args: Full(whole(self, *args)))
        else:
            patch.setattr(*{"fsync": (os, "fsync", fail), "replace": (Path, "replace", fail)}[where])
        for key in ("x/new", "x/old"):
            with pytest.raises(LakeError, match=r"cannot write .*No space left on device; check the disk"):
                lake.put(key, b"new")
    assert not lake.exists("x/new")
    assert lake.get("x/old") == b"old"
    assert files(lake) == [lake.path("x/old")]


class Full:
    """A file on a disk that fills up after the first bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data[:1])
        self._file.flush()
        raise OSError(28, "No space left on device")


def test_an_object_is_not_seen_before_it_is_whole(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are on the disk before the name is: writing in place would fail here."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(lake.exists("x")))
    lake.put("x", b"1")
    assert seen == [False]
    assert lake.exists("x")


def test_a_folder_that_cannot_be_made_is_an_error_of_the_lake(lake: Lake) -> None:
    """An object where a folder should be gives one clear line."""
    lake.put("a", b"1")
    with pytest.raises(LakeError, match="cannot write"):
        lake.put("a/b", b"2")
    with pytest.raises(LakeError, match="cannot write"):
        lake.put("a/b/c", b"2")
    lake.put("d/e", b"1")
    with pytest.raises(LakeError, match="cannot write"):
        lake.put("d", b"2")
    assert lake.list("") == ["a", "d/e"]


def test_what_is_not_there_is_an_error_of_the_lake(lake: Lake) -> None:
    """The message names the file."""
    with pytest.raises(LakeError, match=r"cannot read .*nowhere: No such file"):
        lake.get("nowhere")
    assert not lake.exists("nowhere")


def test_damaged_objects_are_errors_of_the_lake(lake: Lake) -> None:
    """What is no JSON or no Parquet is said to be none."""
    lake.put("a.json", b"{")
    with pytest.raises(LakeError, match=r"a\.json is no JSON"):
        lake.get_json("a.json")
    whole = parquet_bytes(pa.table({"a": np.arange(1000)}))
    for data in (b"", b"nothing", whole[:-10], b"PAR1" + whole[-20:]):
        lake.put("a.parquet", data)
        with pytest.raises(LakeError, match=r"a\.parquet is no Parquet file"):
            lake.get_table("a.parquet")


def test_paths_that_look_like_partitions_add_no_columns(lake: Lake) -> None:
    """`date=…` and `series=…` are folders; a reader that infers partitions would add two columns."""
    key = "raw/watch=w/series=7/date=2026-01-05/x.parquet"
    table = pa.table({"a": [1.0]})
    lake.put_table(key, table)
    assert lake.get_table(key).equals(table)
    assert lake.get_table(key, ["a"]).column_names == ["a"]
    assert lake.get_table(key).schema == table.schema


@pytest.mark.parametrize("uri", ["gs://bucket/prefix", "file://host/folder", "folder", "/folder", "file:folder", ""])
def test_other_uris_are_refused(uri: str) -> None:
    """A lake is a folder of this machine or a bucket; what a bucket's URI may be is for test_s3.py."""
    with pytest.raises(SettingsError, match="wanted file:///absolute/folder"):
        Lake(uri)


def test_a_uri_may_hold_blanks_and_umlauts(tmp_path: Path) -> None:
    """What is quoted in the URI is a plain name on the disk."""
    folder = tmp_path / "größe und mehr"
    lake = Lake(f"file://{quote(str(folder))}/")
    lake.put("a", b"1")
    assert (folder / "a").read_bytes() == b"1"
    assert lake.uri_of("a") == f"{folder.as_uri()}/a"
