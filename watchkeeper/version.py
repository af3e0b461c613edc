"""A version of a model: a folder of a JSON manifest, safetensors weights and a reference sample. No pickle anywhere.

The folder lies in the lake, `versions/<watch>/<run>-<digest>/`, and is named from the lake's root, so that lake and
registry can be moved. The manifest holds the checksum of each other file, and the registry holds the manifest's. A
folder is read only if every checksum fits and nothing unknown lies in it. Neither writing nor reading needs MLflow.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from watchkeeper.errors import ObjectNotFoundError, VersionRefusedError
from watchkeeper.lake import Lake, digest, parquet_bytes
from watchkeeper.records import Record
from watchkeeper.settings import first_problem

FORMAT = 1
MANIFEST, WEIGHTS, REFERENCE = "manifest.json", "detector.safetensors", "reference.parquet"

Arrays = Mapping[str, npt.NDArray[Any]]


class Manifest(Record):
    """What a version is, and what it was made from. It holds no clock: equal input gives an equal manifest.

    Attributes:
        format: of the folder; a loader refuses one that it does not know.
        run: the key of the run that made it: a digest of snapshot, watch, seed and code.
        interval_s: median time between rows of the training data.
        held_out_from: the first row that the version did not learn from.
        code: digest of the code that trained it.
        labels: how many rows of each label the training part had, and how many windows the agent asked about.
        detector: configuration of the detector; its arrays are in the weights file.
        evaluation: mean figures on the held-out rows by scorer.
        files: SHA-256 of each other file of the folder.
    """

    format: int
    watch: str
    run: str
    snapshot: str
    channels: tuple[str, ...]
    series: tuple[str, ...]
    interval_s: float
    held_out_from: datetime
    window: int
    code: str
    seed: int
    labels: dict[str, int]
    detector: dict[str, Any]
    evaluation: dict[str, dict[str, float | None]]
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Version:
    """A version as read from its folder."""

    manifest: Manifest
    arrays: Arrays
    reference: pa.Table


def write_version(lake: Lake, manifest: Manifest, arrays: Arrays, reference: pa.Table) -> tuple[str, str]:
    """Write a version's folder, and return it with the manifest's SHA-256.

    Equal input gives the same folder with the same bytes, whatever lay there before: a damaged one is mended. The
    manifest comes last: without it there is no version.

    Args:
        lake: where to.
        manifest: without `files`.
        arrays: the detector's arrays by name.
        reference: rows that drift checks compare with: timestamp, series, score and channels.
    """
    from safetensors.numpy import save

    contents = {
        WEIGHTS: save({name: np.ascontiguousarray(array) for name, array in arrays.items()}),
        REFERENCE: parquet_bytes(reference),
    }
    complete = manifest.model_copy(update={"files": {name: digest(data) for name, data in contents.items()}})
    text = json.dumps(complete.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode()
    sha256 = digest(text)
    folder = f"versions/{manifest.watch}/{manifest.run}-{sha256[:12]}"
    for key in lake.list(folder):
        if key.removeprefix(f"{folder}/") not in {*contents, MANIFEST}:
            lake.delete(key)  # foreign: the version would be refused for it
    for name, data in contents.items():
        lake.put(f"{folder}/{name}", data)
    lake.put(f"{folder}/{MANIFEST}", text)
    return folder, sha256


def read_version(lake: Lake, folder: str, sha256: str) -> Version:
    """Read a version's folder, or refuse it.

    Args:
        lake: where it lies.
        folder: the version's folder in the lake.
        sha256: the manifest's digest as the registry knows it.

    Raises:
        VersionRefusedError: a file is missing, unknown or changed, or the format is not known.
        LakeError: the lake cannot be read, which says nothing about the version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    where = lake.uri_of(folder)
    text = _read(lake, f"{folder}/{MANIFEST}")
    if digest(text) != sha256:
        raise VersionRefusedError(
            f"{where}/{MANIFEST} is not the registered one: SHA-256 {digest(text)[:12]}…, registered {sha256[:12]}…; "
            f"restore the folder from a backup or roll back to another version"
        )
    try:
        about = json.loads(text)
        # Before the other fields: another format may have others.
        if isinstance(about, dict) and (found := about.get("format")) != FORMAT:
            raise VersionRefusedError(f"{where}: format {found} is not known, wanted {FORMAT}; update Watchkeeper")
        manifest = Manifest.model_validate(about)
    except ValueError as error:
        why = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise VersionRefusedError(f"{where}/{MANIFEST} cannot be understood: {why}") from error
    present = {key.removeprefix(f"{folder}/") for key in lake.list(folder)} - {MANIFEST}
    if unknown := sorted(present - set(manifest.files)):
        raise VersionRefusedError(f"{where} holds files that its manifest does not name: {', '.join(unknown)}")
    contents = {name: _read(lake, f"{folder}/{name}") for name in (WEIGHTS, REFERENCE)}
    for name, data in contents.items():
        if digest(data) != manifest.files.get(name):
            raise VersionRefusedError(
                f"{where}/{name} has changed since it was written: its SHA-256 differs from the manifest's; "
                f"restore the folder from a backup or roll back to another version"
            )
    try:
        arrays = load(contents[WEIGHTS])
    except SafetensorError as error:
        raise VersionRefusedError(f"{where}/{WEIGHTS} is no safetensors file: {error}") from error
    try:
        # No thread of Arrow's: one that lets go of Python's bytes while the interpreter ends aborts the process.
        reference = pq.ParquetFile(io.BytesIO(contents[REFERENCE]), pre_buffer=False).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise VersionRefusedError(f"{where}/{REFERENCE} is no Parquet file: {error}") from error
    return Version(manifest, arrays, reference)


def _read(lake: Lake, key: str) -> bytes:
    try:
        return lake.get(key)
    except ObjectNotFoundError as error:
        raise VersionRefusedError(str(error)) from error
