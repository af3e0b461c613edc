"""Folders as the makers of benchmarks hand them out: one file for each format, each giving pieces to read."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path

from tasks.sources import Batch
from tasks.sources.benchmarks import nab, skab, smap_msl, smd, swat, tsb_ad, ucr, wadi, yahoo_s5
from tasks.sources.benchmarks.piece import Piece
from tasks.sources.folder import READ_ERRORS, bad_name, content_of, first_line, folder_of
from watchkeeper.errors import DataError
from watchkeeper.records import Refusal
from watchkeeper.sources import BenchmarkSource

FINDERS: dict[str, Callable[[Path, BenchmarkSource], list[Piece]]] = {
    "yahoo_s5": yahoo_s5.find,
    "smd": smd.find,
    "wadi": wadi.find,
    "swat": swat.find,
    "skab": skab.find,
    "nab": nab.find,
    "smap": smap_msl.find,
    "msl": smap_msl.find,
    "tsb_ad": tsb_ad.find,
    "ucr": ucr.find,
}


def read_benchmark(
    source: BenchmarkSource, until: datetime | None, seen: Collection[str] = ()
) -> Iterator[Batch | Refusal]:
    """Read a benchmark's folder series by series. A bad file never stops the other series.

    Raises:
        DataError: the folder is missing, or holds nothing of this format.
    """
    folder = folder_of(source)
    pieces = FINDERS[source.format](folder, source)
    if not pieces:
        raise DataError(f"source folder {folder} holds nothing of {source.format} that matches {source.files}")
    for piece in pieces:
        content = content_of(piece.series, piece.paths)
        if content is not None and content in seen:
            continue
        if refusal := bad_name(piece.series, piece.origin):
            yield refusal
            continue
        try:
            yield from piece.read(content, until)
        except DataError as error:
            yield Refusal(origin=piece.origin, reason=str(error))
        except READ_ERRORS as error:
            yield Refusal(origin=piece.origin, reason=f"cannot be read: {first_line(error)}")
