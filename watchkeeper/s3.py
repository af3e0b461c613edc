"""The lake's objects in an S3-compatible store, through boto3.

Parquet is read through boto3 too, not through pyarrow's S3 file system: so there is one chain of credentials, one rule
of retries and one kind of error, whatever the server. pyarrow's client would need checksum settings in the environment
before it is imported, else `rclone serve s3` answers 411.
"""

import functools
import io
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pyarrow as pa
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as boto
from botocore.config import Config

from watchkeeper.errors import LakeError, ObjectNotFoundError, SettingsError
from watchkeeper.stores import UNPUBLISHED, Entry

if TYPE_CHECKING:
    from typing_extensions import Buffer

ATTEMPTS = 9
"""How often a request is tried on 5xx, timeouts and broken connections. boto3 waits at random up to 0.05 s, 0.1 s,
0.2 s and so on in between: six seconds in the mean, enough for a server that is started again."""
FIRST_PAUSE_S = 0.05
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60
PART = 16 * 2**20
"""Bytes of one part of a large object; up to this size an object goes in one request."""
IN_PARTS = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
READ_AHEAD = 4 * 2**20
"""Bytes that a ranged request asks for at least: the columns of a row group lie side by side."""
CONNECTIONS = 32
"""Connections that one process keeps."""

BROKEN = (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError)
"""No connection, or one that ended before its time."""
MISSING = {"404", "NoSuchKey", "NotFound"}
REFUSED = {
    "401", "403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
}  # fmt: skip


class S3Store:
    """A prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        """Take an `s3://bucket/prefix`. Nothing is asked of the server yet.

        Raises:
            SettingsError: the URI is of another form.
            LakeError: AWS's configuration on this machine cannot be used.
        """
        parsed = urlsplit(uri)
        prefix = parsed.path.strip("/")
        plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parsed.netloc)
        if not plain or parsed.query or parsed.fragment or {"", ".", ".."} & set((prefix or "x").split("/")):
            shown = re.sub(r"//.*@", "//…@", uri).partition("?")[0]  # a key that was written into it is not shown
            raise SettingsError(
                f"{shown!r}: wanted s3://bucket/prefix; endpoint and keys are settings of their own: "
                f"AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
            )
        self._bucket = parsed.netloc
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _client()

    def put(self, key: str, data: bytes) -> None:
        """Write an object in one request, or in parts that appear together when the last has come."""
        with self._told(f"write {self.name(key)}"):
            if len(data) <= PART:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)
            else:
                self._client.upload_fileobj(io.BytesIO(data), self._bucket, self._prefix + key, Config=IN_PARTS)

    @contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """Give a file of this machine, and write the object from it in parts that appear together."""
        try:
            with tempfile.SpooledTemporaryFile(PART) as file:
                yield file
                file.seek(0)
                with self._told(f"write {self.name(key)}"):
                    self._client.upload_fileobj(file, self._bucket, self._prefix + key, Config=IN_PARTS)
        except OSError as error:
            raise LakeError(
                f"cannot write {self.name(key)}: {error.strerror} in {tempfile.gettempdir()}; make room, or set TMPDIR"
            ) from error

    def get(self, key: str) -> bytes:
        """Read an object."""
        return bytes(self.fetch(key).to_pybytes())

    def open(self, key: str, *, whole: bool) -> pa.NativeFile:
        """Read the object into memory of Arrow's own in one request, or give a file that asks for ranges."""
        if whole:
            return pa.BufferReader(self.fetch(key))
        return pa.PythonFile(io.BufferedReader(_Ranged(self, key), READ_AHEAD), mode="r")

    def size(self, key: str) -> int:
        """Ask how many bytes an object has."""
        with self._told(f"read {self.name(key)}"):
            return int(self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)["ContentLength"])

    def fetch(self, key: str, span: tuple[int, int] | None = None) -> pa.Buffer:
        """Read an object, or its bytes [start, end), into memory of Arrow's own."""
        more = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        with self._told(f"read {self.name(key)}"):
            attempt = 1
            while True:
                found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **more)
                try:
                    return _into_arrow(found["Body"], int(found["ContentLength"]))
                except BROKEN:  # boto3 tries again only until a response begins
                    if attempt == ATTEMPTS:
                        raise
                    time.sleep(random.uniform(0, FIRST_PAUSE_S * 2**attempt))  # noqa: S311 - no secret
                    attempt += 1

    def exists(self, key: str) -> bool:
        """Tell whether the server has the object."""
        try:
            with self._told(f"look for {self.name(key)}"):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except ObjectNotFoundError:
            return False
        return True

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through the objects below a folder, a thousand a request."""
        below, last = self._prefix + (f"{folder}/" if folder else ""), None
        with self._told(f"list s3://{self._bucket}/{below}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below):
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._prefix)
                    # rclone may list a key twice that several writers wrote at once; consoles mark folders by "x/".
                    if key == last or key.endswith("/"):
                        continue
                    last = key
                    yield Entry(key, int(found["Size"]), found["LastModified"].astimezone(UTC))

    def leftovers(self) -> Iterator[Entry]:
        """Go through uploads in parts that were begun and never ended; no listing of objects shows them."""
        # A server that never saw an upload in parts may say so by 404 NoSuchUpload, as rclone does.
        none_yet = suppress(self._client.exceptions.NoSuchUpload)
        with self._told(f"list the uploads of s3://{self._bucket}/{self._prefix}"), none_yet:
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for found in page.get("Uploads", ()):
                    key = found["Key"].removeprefix(self._prefix)
                    yield Entry(f"{key}/{UNPUBLISHED}{found['UploadId']}", 0, found["Initiated"].astimezone(UTC))

    def delete(self, key: str) -> None:
        """Remove the object, or the parts of an upload that was never ended."""
        parent, _, last = key.rpartition("/")
        with self._told(f"delete {self.name(key)}"):
            if not last.startswith(UNPUBLISHED):
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
                return
            with suppress(self._client.exceptions.NoSuchUpload):  # ended since it was listed
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._prefix + parent, UploadId=last.removeprefix(UNPUBLISHED)
                )

    def name(self, key: str) -> str:
        """Return the object's URI."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """Turn boto3's errors into the house's: what failed, what the server said in one word, what to do."""
        where = _endpoint(self._client)
        try:
            yield
        except boto.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "no code"))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code == "NoSuchBucket":
                raise LakeError(
                    f"cannot {doing}: {where} has no bucket {self._bucket}; create it, or mend the name of the bucket"
                ) from error
            if code in MISSING:
                raise ObjectNotFoundError(f"cannot {doing}: no such object") from error
            if code in REFUSED:
                raise LakeError(
                    f"cannot {doing}: {where} refused the credentials ({code}); check AWS_ACCESS_KEY_ID and "
                    f"AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and what they may do with the bucket {self._bucket}"
                ) from error
            hint = "try again later" if status >= 500 else "check the bucket, AWS_DEFAULT_REGION and the server's log"
            raise LakeError(f"cannot {doing}: {where} answered {status} {code}; {hint}") from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
            raise LakeError(
                f"cannot {doing}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from error
        except BROKEN as error:
            raise LakeError(
                f"cannot {doing}: no usable answer from {where} ({type(error).__name__}); is the server up, and does "
                f"AWS_ENDPOINT_URL name it?"
            ) from error
        except boto.BotoCoreError as error:
            raise LakeError(f"cannot {doing}: {' '.join(str(error).split())}; check AWS's settings") from error


class _Ranged(io.RawIOBase):
    """An object as a file that asks the server for the ranges that are read."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store, self._key, self._at = store, key, 0
        self._size = store.size(key)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, target: "Buffer") -> int:
        view = memoryview(target).cast("B")
        size = min(len(view), self._size - self._at)
        if size <= 0:
            return 0
        view[:size] = memoryview(self._store.fetch(self._key, (self._at, self._at + size))).cast("B")
        self._at += size
        return size


def _into_arrow(body: Any, size: int) -> pa.Buffer:
    """Read a response's body into memory of Arrow's own, without holding it twice."""
    buffer = pa.allocate_buffer(size)
    view, at = memoryview(buffer).cast("B"), 0
    for chunk in body.iter_chunks(2**20):
        view[at : at + len(chunk)] = chunk
        at += len(chunk)
    return buffer


def _client() -> Any:
    """Return this process's client for what the environment says now.

    Making one takes a tenth of a second. Threads may share it; a forked process may not share its connections.
    """
    aws = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _make_client(os.getpid(), aws)


@functools.lru_cache(maxsize=4)
def _make_client(_process: int, _aws: tuple[tuple[str, str], ...]) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},  # growing pauses with jitter
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=CONNECTIONS,
        # boto3 sends checksums of its own unless told otherwise; several servers refuse them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        # A session of its own: boto3's default one must not be used by two threads at once.
        return boto3.session.Session().client("s3", config=config)
    except ValueError as error:  # botocore's word for an endpoint that is no URL
        raise LakeError("AWS_ENDPOINT_URL is no URL; wanted http://host:port or https://host") from error
    except boto.BotoCoreError as error:
        raise LakeError(f"cannot use AWS's settings: {' '.join(str(error).split())}") from error


def _endpoint(client: Any) -> str:
    """Return a client's endpoint without what may be secret in it."""
    parsed = urlsplit(str(client.meta.endpoint_url))
    return f"{parsed.scheme}://{parsed.hostname}" + (f":{parsed.port}" if parsed.port else "")
