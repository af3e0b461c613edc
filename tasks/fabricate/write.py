"""A run on disk: `<facility>.parquet`, which a watch reads, and `<facility>.events.json`, the truth about it."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from tasks.fabricate.run import FACILITIES, Run, pieces
from watchkeeper.errors import BadInputError


@dataclass(frozen=True)
class Written:
    """Where a run lies, and what is in it."""

    parquet: Path
    events: Path
    rows: int
    channels: int
    anomalies: int
    anomalous_rows: int


def write(run: Run, folder: Path, overwrite: bool = False, progress: Callable[[int], None] | None = None) -> Written:
    """Write a run, block by block: one row group each, in a memory that does not grow with the run.

    Both files are written under other names first, so that a killed run leaves nothing that looks whole.

    Args:
        run: what is written.
        folder: where to; made if need be.
        overwrite: whether files of an earlier run may be replaced.
        progress: told the number of blocks done.

    Raises:
        BadInputError: the folder cannot be written, or holds such files already.
    """
    parquet, events = folder / f"{run.facility}.parquet", folder / f"{run.facility}.events.json"
    if not overwrite and (there := [path for path in (parquet, events) if path.exists()]):
        raise BadInputError(f"{there[0]} is there already; add --overwrite to replace it, or name another folder")
    parts = [path.with_name(path.name + ".part") for path in (parquet, events)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = _write_parts(run, (parquet, events), (parts[0], parts[1]), progress)
        for part, path in zip(parts, (parquet, events), strict=True):
            part.replace(path)
    except OSError as error:
        raise BadInputError(f"folder {folder}: cannot be written: {error.strerror or error}") from error
    finally:
        if folder.is_dir():
            for part in parts:
                part.unlink(missing_ok=True)
    return written


def _write_parts(
    run: Run, paths: tuple[Path, Path], parts: tuple[Path, Path], progress: Callable[[int], None] | None
) -> Written:
    """Write both files under their provisional names. Events go out as they come: there are many in a long run."""
    facility = FACILITIES[run.facility]
    count, anomalous, operations = 0, 0, []
    writer: pq.ParquetWriter | None = None

    def span(start: int, end: int) -> dict[str, str]:
        times = (run.start + timedelta(seconds=row * facility.interval_s) for row in (start, end))
        return dict(zip(("start", "end"), map(_iso, times), strict=True))

    with ExitStack() as stack:
        file = stack.enter_context(parts[1].open("w", encoding="utf-8"))
        about = {"start": _iso(run.start), "interval_s": facility.interval_s, "rows": run.rows}
        shift = None if run.shift is None else asdict(run.shift)
        head = {"facility": run.facility, "seed": run.seed, **about, "anomalies": run.anomalies, "shift": shift}
        file.write(json.dumps(head)[:-1] + ',\n"events": [')
        for number, piece in enumerate(pieces(run), start=1):
            if writer is None:
                # Noise does not compress, nor do its values repeat: dictionaries would cost time and save nothing.
                writer = stack.enter_context(
                    pq.ParquetWriter(parts[0], piece.table.schema, compression="snappy", use_dictionary=["label"])
                )
            writer.write_table(piece.table, row_group_size=piece.table.num_rows)
            for event in piece.events:
                told = {**span(event.start, event.end), "type": event.kind, "form": event.form}
                file.write(("," if count else "") + "\n" + json.dumps({**told, "channels": event.channels}))
                count, anomalous = count + 1, anomalous + event.end - event.start
            operations += [
                json.dumps({**span(one.start, one.end), "type": one.kind, "equipment": one.equipment})
                for one in piece.operations
            ]
            if progress is not None:
                progress(number)
        file.write('\n],\n"operations": [\n' + ",\n".join(operations) + "\n]}\n")
    return Written(paths[0], paths[1], run.rows, len(facility.channels), count, anomalous)


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
