"""Whether a folder is one of the field's benchmarks, as its makers hand it out."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from tasks.look import Choice
from tasks.sources.benchmarks import FINDERS, tsb_ad
from tasks.sources.benchmarks.piece import head_of
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkFormat, BenchmarkSource

SIGNS: dict[str, tuple[str, ...]] = {
    "smd": ("train/*.txt", "test/*.txt", "test_label/*.txt"),
    "smap": ("test/*.npy", "train/*.npy"),
    "msl": ("test/*.npy", "train/*.npy"),
    "nab": ("data/*/*.csv", "labels/combined_windows.json"),
    "skab": ("valve1/*.csv", "anomaly-free/*.csv"),
    "wadi": ("WADI_*.csv",),
    "ucr": ("*_UCR_Anomaly_*.txt",),
    "yahoo_s5": ("A*Benchmark/*.csv",),
    "tsb_ad": ("*_id_*_tr_*_1st_*.csv",),
}
"""Files that a format has in any case. SWaT shows itself by its last column alone."""

Known = tuple[dict[str, Any], str, int, tuple[str, ...]]


def benchmark_in(folder: Path, choice: Choice) -> Known | None:
    """Return source, name, number of series and notes, where a folder is a benchmark's; None where it is none.

    Some repositories have the folder that is meant in `data`.

    Raises:
        DataError: it is one, and cannot be a watch as a whole.
    """
    return next((known for one in (folder, folder / "data") if (known := _known_in(one, choice))), None)


def _known_in(folder: Path, choice: Choice) -> Known | None:
    if not folder.is_dir():
        return None
    found: dict[str, list[str]] = {}
    for format in get_args(BenchmarkFormat):
        signs = SIGNS.get(format, ())
        if format == "swat":
            if not _is_swat(folder):
                continue
        elif not all(next(folder.glob(sign), None) for sign in signs):
            continue
        source = BenchmarkSource(
            kind="benchmark", format=format, folder=str(folder.absolute()), files=choice.files or "*",
            start=choice.start, interval_s=choice.interval_s, zone=choice.zone,
        )  # fmt: skip
        try:
            pieces = FINDERS[format](folder, source)
        except DataError:
            continue  # it lacks what the format needs, so it is another's
        if pieces:
            found[format] = sorted({piece.series for piece in pieces})
    if not found:
        return None
    format, series = max(found.items(), key=lambda one: (one[0] in folder.name.lower(), len(one[1])))
    notes = [
        f"{other} lies in the folder as well: {len(names):,} series"
        for other, names in found.items()
        if other != format
    ]
    keys: dict[str, Any] = {"kind": "benchmark", "format": format, "folder": str(folder.absolute())}
    given = {"files": choice.files, "start": choice.start, "interval_s": choice.interval_s, "zone": choice.zone}
    keys |= {name: value for name, value in given.items() if value is not None}
    if format == "tsb_ad" and choice.files is None:
        _check_collection(folder)
    return keys, format if len(series) > 1 else series[0], len(series), tuple(notes)


def _is_swat(folder: Path) -> bool:
    first = next(iter(sorted(folder.glob("*.csv"))), None)
    return first is not None and any(re.search(r"[,;]\s*\"?Normal/Attack", line) for line in head_of(first)[:5])


def _check_collection(folder: Path) -> None:
    """Refuse a folder of several collections: their channels differ."""
    names = [path.stem for path in folder.rglob("*.csv") if tsb_ad.NAME.fullmatch(path.stem)]
    kinds = Counter(re.sub(r"^\d+_(\w+?)_id_.*", r"\1", name) for name in names)
    if len(kinds) > 1:
        patterns = ", ".join(f'--files "*_{kind}_id_*"' for kind, _ in kinds.most_common(5))
        raise DataError(
            f"{folder} holds {len(kinds)} collections of TSB-AD, whose channels differ; choose one: {patterns}"
        )
