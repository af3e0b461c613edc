"""A text file in blocks of whole lines, as UTF-8 whatever it was."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from watchkeeper.errors import DataError

BLOCK = 4 * 2**20  # bytes read at once; half of it or twice it is slower (benchmarks/ingest.py)
LONGEST_LINE = 8 * BLOCK  # bytes; what is longer is no table


def read_blocks(path: Path, encoding: str, size: int) -> Iterator[bytes | memoryview]:
    """Give the file as UTF-8 in whole lines. A block is valid until the next one is asked for.

    Raises:
        DataError: the file is written in another encoding, or a line is longer than a table's can be.
        OSError, pa.ArrowInvalid: it cannot be read.
    """
    with pa.input_stream(str(path)) as stream:
        if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii"):
            yield from _plain(stream, size)
            return
        decoder, rest, data = codecs.getincrementaldecoder(encoding)(), b"", b" "
        while data:
            data = stream.read(size)
            try:
                lines = rest + decoder.decode(data, final=not data).encode()
            except UnicodeError as error:
                raise DataError(f"is not {encoding}: {error}; correct `encoding`") from error
            cut = lines.rfind(b"\n") + 1
            rest = lines[cut:]
            _check_line(len(rest))
            if cut:
                yield lines[:cut].removeprefix(codecs.BOM_UTF8)
        if rest.strip():
            yield rest


def _plain(stream: pa.NativeFile, size: int) -> Iterator[memoryview]:
    """Give a stream of UTF-8 in whole lines, all in the same memory: fresh memory costs as much as the parsing."""
    room, held, first = bytearray(size), 0, True
    while True:
        while held < len(room) and (count := stream.readinto(memoryview(room)[held:])):
            held += count
        if first and bytes(room[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError('is UTF-16; set encoding = "utf-16"')
        start = len(codecs.BOM_UTF8) if first and room.startswith(codecs.BOM_UTF8) else 0
        last = held < len(room)
        cut = held if last else room.rfind(b"\n", 0, held) + 1
        if cut > start and (not last or room[start:held].strip()):
            first = False
            yield memoryview(room)[start:cut]
        if last:
            return
        if not cut:
            _check_line(held)
            room = room + bytes(len(room))
        else:
            room[: held - cut] = room[cut:held]
            held -= cut


def _check_line(length: int) -> None:
    if length > LONGEST_LINE:
        raise DataError(f"has a line of more than {LONGEST_LINE // 2**20} MiB, so it is no table")
