"""What can go wrong between the lake and an S3 server, and what a person reads then."""

import contextlib
import http.client
import http.server
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from watchkeeper import s3
from watchkeeper.errors import LakeError, SettingsError
from watchkeeper.lake import Lake

REPOSITORY = Path(__file__).parents[2]
SECRET = "wrong-and-never-to-be-shown"  # noqa: S105 - made up


class Flaky(http.server.ThreadingHTTPServer):
    """Stands before a real server, passes requests on, and fails the first ones as it is told."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.real_port = port
        self.failures: list[str] = []
        self.seen: list[str] = []

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Flaky

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(f"{self.command} {self.path}")
        failure = self.server.failures.pop(0) if self.server.failures else ""
        if failure.isdigit():
            self.send_response(int(failure))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif failure == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif failure == "silence":
            time.sleep(3)
            self.close_connection = True
        else:
            self._pass_on(body, half=failure == "half")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815 - http.server's names

    def _pass_on(self, body: bytes, *, half: bool) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.real_port, timeout=60)) as real:
            real.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the signature is of the host that the client named
                if name.lower() not in ("expect", "connection"):
                    real.putheader(name, value)
            real.endheaders(body)
            answer = real.getresponse()
            data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        self.close_connection = half

    def log_message(self, *_: Any) -> None:
        """The test's output is not for this."""


@pytest.fixture(scope="module")
def before() -> Iterator[Callable[[int], Flaky]]:
    """Gives the server that stands before the real one at a port."""
    running: dict[int, Flaky] = {}

    def server(port: int) -> Flaky:
        if port not in running:
            running[port] = Flaky(port)
            threading.Thread(target=running[port].serve_forever, daemon=True).start()
        return running[port]

    yield server
    for one in running.values():
        one.shutdown()
        one.server_close()


@pytest.fixture
def flaky(s3_server: Any, before: Callable[[int], Flaky], monkeypatch: pytest.MonkeyPatch) -> Flaky:
    """A server before each real one, which the environment names."""
    server = before(s3_server.port)
    server.failures.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 1)
    return server


@pytest.fixture
def lake(flaky: Flaky) -> Lake:
    """A lake behind it that holds an object and a table."""
    found = Lake(f"s3://lakes/{time.time_ns()}")
    found.put("object", b"1" * 1000)
    found.put_table("table.parquet", pa.table({"a": np.arange(1000)}))
    flaky.seen.clear()
    return found


CALLS: dict[str, Callable[[Lake], Any]] = {
    "put": lambda lake: lake.put("new", b"2" * 1000),
    "put in parts": lambda lake: lake.put("new", b"2" * (s3.PART + 1)),
    "get": lambda lake: lake.get("object"),
    "get_table": lambda lake: lake.get_table("table.parquet"),
    "iter_batches": lambda lake: list(lake.iter_batches("table.parquet")),
    "exists": lambda lake: lake.exists("object"),
    "list": lambda lake: lake.list(""),
    "delete": lambda lake: lake.delete("object"),
}


@pytest.mark.parametrize(
    ("call", "failure"),
    [*((call, failure) for call in CALLS for failure in ("503", "reset")), ("get", "500"), ("get", "silence"),
     ("put", "silence")],
)  # fmt: skip
def test_a_request_that_fails_is_made_again(lake: Lake, flaky: Flaky, call: str, failure: str) -> None:
    """Twice a server error, a broken connection or no answer at all, and then it goes as if nothing had been."""
    wanted = CALLS[call](lake) if call in ("get", "get_table", "iter_batches", "exists", "list") else None
    alone = len(flaky.seen)
    flaky.failures = [failure] * 2
    assert CALLS[call](lake) == wanted
    assert flaky.failures == []
    if alone:
        assert len(flaky.seen) == 2 * alone + 2
    if call.startswith("put"):
        assert lake.get("new").strip(b"2") == b""


@pytest.mark.parametrize("call", ["get", "get_table", "iter_batches"])
def test_an_answer_that_breaks_off_is_asked_for_again(lake: Lake, flaky: Flaky, call: str) -> None:
    """Half an object is never taken for the whole: boto3 itself does not look at this any more."""
    wanted = CALLS[call](lake)
    flaky.failures = ["", "half"] if call == "iter_batches" else ["half", "half"]
    assert CALLS[call](lake) == wanted
    assert flaky.failures == []


def test_a_server_that_goes_on_failing_is_given_up(lake: Lake, flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many requests, no more and no less, with one line that names the server and the code."""
    monkeypatch.setattr(s3, "ATTEMPTS", 3)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")  # another client, with fewer attempts
    again = Lake(lake.uri)
    for failure, said in (("503", "answered 503"), ("half", "no usable answer from")):
        flaky.seen.clear()
        flaky.failures = [failure] * 10
        with pytest.raises(LakeError, match=rf"^cannot read {again.uri}/object: .*{said}[^\n]*$"):
            again.get("object")
        assert len(flaky.seen) == 3


def test_what_is_refused_is_asked_once(lake: Lake, flaky: Flaky) -> None:
    """A missing object, a missing bucket and a wrong request do not get better by trying again."""
    for call in (lambda: lake.get("nowhere"), lambda: Lake("s3://nobody-has-this/x").list("")):
        flaky.seen.clear()
        with pytest.raises(LakeError):
            call()
        assert len(flaky.seen) == 1
    flaky.seen.clear()
    assert not lake.exists("nowhere")
    assert len(flaky.seen) == 1


def test_requests_are_few(lake: Lake, flaky: Flaky) -> None:
    """One for an object or a whole table, three for a small one by ranges, one for a thousand keys."""
    for call, most in (("get", 1), ("get_table", 1), ("iter_batches", 3), ("list", 1), ("put", 1), ("exists", 1)):
        flaky.seen.clear()
        CALLS[call](lake)
        assert len(flaky.seen) <= most, call


def test_one_row_group_of_many_is_read_alone(lake: Lake, flaky: Flaky) -> None:
    """Of a table of 28 MB, a column of one row group takes the footer and one range, not the object."""
    rng = np.random.default_rng(0)
    lake.put_table("wide.parquet", pa.table({f"c{i}": rng.random(400_000) for i in range(10)}))
    flaky.seen.clear()
    with lake.open_table("wide.parquet") as table:
        table.read_row_group(2, ["c7"], use_threads=False)
    assert [request.split()[0] for request in flaky.seen] == ["HEAD", "GET", "GET"]


def test_a_missing_bucket_is_told(s3_server: Any) -> None:
    """Reading, writing, listing and deleting say which bucket, where, and what to do."""
    lake = Lake("s3://nobody-has-this/x")
    calls = (
        lambda: lake.get("a"), lambda: lake.put("a", b"1"), lambda: lake.put("a", b"1" * (s3.PART + 1)),
        lambda: lake.list("a"), lambda: lake.delete("a"), lake.leftovers, lambda: lake.get_table("a"),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(LakeError) as caught:
            call()
        assert f"{s3_server.endpoint} has no bucket nobody-has-this; create it, or mend the name of the bucket" in str(
            caught.value
        )


def refused(lake: Lake) -> list[str]:
    """What each call says when the server refuses."""
    calls = (
        lambda: lake.get("a"), lambda: lake.put("a", b"1"), lambda: lake.list("a"), lambda: lake.exists("a"),
        lambda: list(lake.iter_batches("a")), lambda: lake.put("a", b"1" * (s3.PART + 1)),
    )  # fmt: skip
    said = []
    for call in calls:
        with pytest.raises(LakeError) as caught:
            call()
        said.append(str(caught.value))
    return said


def test_a_wrong_secret_is_told_and_not_shown(s3_servers: Any, s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the server that checks: what was refused, what to look at, and neither key nor secret."""
    if s3_server.kind == "moto":
        pytest.skip("moto takes every secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for said in refused(Lake("s3://lakes/x")):
        assert "refused the credentials" in said
        assert "AWS_SECRET_ACCESS_KEY" in said
        assert SECRET not in said
        assert "\n" not in said
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_servers("rclone").environment["AWS_SECRET_ACCESS_KEY"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody-known")
    assert all("refused the credentials" in said for said in refused(Lake("s3://lakes/x")))


def test_missing_credentials_are_told(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variables."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert s3_server
    for said in refused(Lake("s3://lakes/x")):
        assert "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in said


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, s3_server: Any) -> None:
    """With the endpoint, but not with what may be secret in it."""
    assert s3_server
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:1")
    for said in refused(Lake("s3://lakes/x")):
        assert "no usable answer from http://127.0.0.1:1 (" in said
        assert "is the server up, and does AWS_ENDPOINT_URL name it?" in said
        assert SECRET not in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ENDPOINT_URL", "localhost", "AWS_ENDPOINT_URL is no URL; wanted http://host:port"),
        ("AWS_PROFILE", "nobody", "config profile (nobody) could not be found"),
    ],
)
def test_settings_of_aws_that_cannot_be_used_are_told(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """In one line, before anything is sent."""
    assert s3_server
    monkeypatch.setenv(name, value)
    with pytest.raises(LakeError) as caught:
        Lake("s3://lakes/x")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://", "s3:///prefix", "s3://Bucket/x", "s3://b/x", "s3://bucket/a/../b", "s3://bucket/a//b",
        "s3://bucket/x?endpoint=http://y", "s3://bucket/x#y", f"s3://key:{SECRET}@bucket/x", f"https://key:{SECRET}@host/x",
    ],
)  # fmt: skip
def test_other_uris_are_refused(uri: str) -> None:
    """The message says what is wanted, and shows no key that stood in the URI."""
    with pytest.raises(SettingsError, match=r"wanted .*s3://bucket/prefix") as caught:
        Lake(uri)
    assert SECRET not in str(caught.value)


def test_a_bucket_alone_is_a_lake(s3_server: Any) -> None:
    """Without a prefix, with and without a slash."""
    s3_server.make_bucket("whole-bucket")
    Lake("s3://whole-bucket").put("a/b", b"1")
    assert Lake("s3://whole-bucket/").list("") == ["a/b"]
    assert Lake("s3://whole-bucket/a").list("") == ["b"]


def test_a_fresh_server_has_no_leftovers(own_s3_server: Any) -> None:
    """Where no upload in parts was ever begun, some servers answer that there is none of the kind."""
    assert own_s3_server.kind == "rclone"
    assert Lake("s3://lakes").leftovers() == []


def test_marks_of_folders_are_no_objects(s3_server: Any) -> None:
    """Consoles and file browsers write an empty `folder/` where a person makes a folder."""
    if s3_server.kind == "rclone":
        pytest.skip("rclone has folders of its own, and takes no such mark")
    lake = Lake(f"s3://lakes/{time.time_ns()}")
    lake.put("a/b", b"1")
    lake._store._client.put_object(Bucket="lakes", Key=lake.uri_of("a/").removeprefix("s3://lakes/"), Body=b"")  # type: ignore[attr-defined]
    assert lake.list("") == lake.list("a") == ["a/b"]


def test_a_lake_in_a_bucket_has_no_paths() -> None:
    """Asking for one is told, not answered with nonsense."""
    with pytest.raises(LakeError, match="s3://bucket/x/a is no file of this machine"):
        Lake("s3://bucket/x").path("a")


def test_a_process_has_one_client(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one is slow; other settings make another one, and a forked process makes its own."""
    assert s3_server
    clients = {id(Lake(f"s3://lakes/{number}")._store._client) for number in range(5)}  # type: ignore[attr-defined]
    assert len(clients) == 1
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SESSION_TOKEN", "another")
        assert id(s3._client()) not in clients
    with monkeypatch.context() as patch:  # as after a fork
        patch.setattr(os, "getpid", lambda: -1)
        assert id(s3._client()) not in clients
    with ThreadPoolExecutor(8) as pool:
        assert {id(found) for found in pool.map(lambda _: s3._client(), range(64))} == clients


LEFT_FOR_OTHERS = """
import sys
from watchkeeper.lake import Lake
Lake(sys.argv[1]).put("a", b"1")
print(sorted(name for name in sys.modules if name in ("boto3", "botocore")))
"""


def test_a_lake_in_a_folder_does_not_load_boto3(tmp_path: Path) -> None:
    """Those who have no S3 do not wait for it."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT_FOR_OTHERS, tmp_path.as_uri()],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
