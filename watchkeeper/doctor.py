"""The doctor's checks: each says what was found and, where something is wrong, what to do to mend it.

A check that cannot be made, because there is nothing yet or nothing of the kind is set up, is left out with its reason.
What Prefect's server says is in doctor_prefect.py.
"""

import importlib.metadata
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Literal
from urllib.parse import unquote, urlsplit

from watchkeeper.errors import LakeError, RegistryError, VersionRefusedError, WatchkeeperError
from watchkeeper.lake import Lake
from watchkeeper.records import Record, Snapshot
from watchkeeper.registry import Registry, folder_of
from watchkeeper.version import read_version

PROBES = ".doctor"
"""Folder of the lake in which writing is tried. What a killed doctor left there goes with `watchkeeper gc`."""
MOST_SKEW_S = 60.0
"""How far the store's clock may be from ours: S3 itself refuses requests from 15 minutes on."""
LEAST_FREE = 10**9
"""Bytes that a disk should have free: a retrain of a large watch writes hundreds of megabytes."""


class Check(Record):
    """What one check found. Where it failed, `mend` says what to do, unless `found` says so itself."""

    name: str
    state: Literal["ok", "failed", "left out"]
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Check:
    """Return a check that found all well."""
    return Check(name=name, state="ok", found=found)


def failed(name: str, found: str, mend: str = "") -> Check:
    """Return a check that found something wrong."""
    return Check(name=name, state="failed", found=found, mend=mend)


def left_out(name: str, found: str) -> Check:
    """Return a check that could not be made."""
    return Check(name=name, state="left out", found=found)


def check_store(uri: str) -> Iterator[Check]:
    """Write an object to the lake, read it back, list it, delete it, and compare the store's clock with ours."""
    key, data = f"{PROBES}/{token_hex(16)}", token_hex(32).encode()
    try:
        lake = Lake(uri)
        began = datetime.now(UTC)
        try:
            lake.put(key, data)
            ended = datetime.now(UTC)
            back = lake.get(key)
            entries = [entry for entry in lake.entries(PROBES) if entry.key == key]
        finally:
            with suppress(LakeError):  # whatever kept it from being written has been told
                lake.delete(key)
        there = lake.exists(key)
    except WatchkeeperError as error:
        yield failed("store", str(error))
        return
    if back != data or [entry.size for entry in entries] != [len(data)] or there:
        wrong = "reads back otherwise" if back != data else "is not deleted" if there else "is not listed"
        yield failed("store", f"{uri}: what is written {wrong}", "this store cannot hold a lake; take another")
        return
    yield ok("store", f"{uri}: written, read back, listed, deleted")
    at = entries[0].modified
    skew = max((began - at).total_seconds(), (at - ended).total_seconds(), 0.0)
    if skew > MOST_SKEW_S:
        yield failed("clock", f"the store's clock is {skew:,.0f} s from this machine's", "set both by NTP")
    else:
        yield ok("clock", f"the store's clock is within {max(1.0, skew):.0f} s of this machine's")


def check_registry(uri: str) -> tuple[Check, Registry | None]:
    """Open the registry, and check its file and its schema. One that is not there yet is not made."""
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        if not file.exists():
            return left_out("registry", f"{file} is not there yet; the first retrain makes it"), None
        try:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
                (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            said = str(error)
        if said != "ok":
            mend = "end what uses it and put back its backup (docs/operations.md); versions themselves lie in the lake"
            return failed("registry", f"{file} is damaged: {said}", mend), None
    try:
        registry = Registry(uri)  # MLflow compares the schema with its own when it opens one
    except RegistryError as error:
        mend = "is the database up, and is WATCHKEEPER_REGISTRY its URI? An older schema: `mlflow db upgrade`"
        return failed("registry", str(error), mend), None
    mlflow = importlib.metadata.version("mlflow-skinny")
    return ok("registry", f"opened, its schema is that of MLflow {mlflow}"), registry


def check_rows(lake: Lake, watch: str) -> Check:
    """Check that the raw rows of the latest snapshot are there."""
    name = f"{watch}: rows"
    try:
        keys = lake.list(f"snapshots/{watch}")
        if not keys:
            return left_out(name, f"nothing yet; run `watchkeeper ingest --watch {watch}`")
        snapshot = Snapshot(**lake.get_json(keys[-1]))
        there = {entry.key: entry.size for entry in lake.entries(f"raw/watch={watch}")}
    except LakeError as error:
        return failed(name, str(error))
    missing = [file.key for file in snapshot.files if not there.get(file.key)]
    if missing:
        found = (
            f"{len(missing)} of {len(snapshot.files)} files of snapshot {snapshot.id} are missing, first {missing[0]}"
        )
        return failed(name, found, "put them back from a backup; or start a new watch from the source")
    return ok(
        name, f"{snapshot.rows:,} rows to {snapshot.end:%Y-%m-%d %H:%M}, {len(snapshot.files):,} files, all there"
    )


def check_versions(lake: Lake, registry: Registry, watch: str) -> Check:
    """Read every version of a watch, with its checksums."""
    name = f"{watch}: versions"
    try:
        lines = registry.versions(watch)
        if not lines:
            return left_out(name, f"none yet; run `watchkeeper retrain --watch {watch}`")
        damaged = []
        for line in lines:
            registered = registry.get(watch, line.version)
            try:
                read_version(lake, folder_of(registered), registered.sha256)
            except (VersionRefusedError, RegistryError) as error:
                which = ", ".join((*line.aliases, "")) + f"version {line.version}"
                damaged.append(f"{which}: {error}")
    except WatchkeeperError as error:
        return failed(name, str(error))
    if damaged:
        return failed(name, f"{len(damaged)} of {len(lines)} cannot be read; {damaged[0]}")
    champion = next((line.version for line in lines if "champion" in line.aliases), None)
    if champion is None:
        return failed(
            name, f"{len(lines)}, none of them champion", f"see `watchkeeper versions --watch {watch}`, retrain"
        )
    return ok(name, f"{len(lines)}, all of them readable; version {champion} is champion")


def check_disk(home: Path, lake_uri: str) -> Iterator[Check]:
    """Check that the disks of the home and of a lake in a folder have space left."""
    places = {"home": home}
    parsed = urlsplit(lake_uri)
    if parsed.scheme == "file":
        places["lake"] = Path(unquote(parsed.path))
    seen = set()
    for name, place in places.items():
        there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
        device = there.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(there).free
        words = f"{free / 1e9:,.1f} GB free on the disk of {place}"
        if free < LEAST_FREE:
            yield failed(f"disk of {name}", words, "run `watchkeeper gc --all`, or make room")
        else:
            yield ok(f"disk of {name}", words)


def check_device(device: str) -> Check:
    """Check that PyTorch is there, and finds a GPU where one is asked for."""
    import torch

    if device != "cuda":
        return ok("device", f"cpu, torch {torch.__version__}")
    if not torch.cuda.is_available():
        mend = "use --device cpu, or mend the driver and install the CUDA build of torch"
        return failed("device", f"cuda is asked for, and torch {torch.__version__} finds no GPU", mend)
    return ok("device", f"cuda, {torch.cuda.get_device_name()}, torch {torch.__version__}")
