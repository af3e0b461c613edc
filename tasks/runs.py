"""Runs: one retrain's outputs, under a key that says what they were made from.

The key is a digest of the snapshot, what the watch file says about learning, and the code that learns. So equal input
finds what an earlier, perhaps killed, run has published, and a step is done again only where its output is missing.
"""

import functools
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from watchkeeper.errors import LakeError
from watchkeeper.lake import Lake, digest_of
from watchkeeper.watch import Watch

LEARNING = ("name", "channels", "features", "window", "stride", "members", "seed", "split", "labels", "alarms", "agent")
"""The keys of a watch that change what is learnt. Source, schedule, gate and drift rule do not."""


@functools.cache
def code_digest() -> str:
    """Return a digest of the code that learns: every file of the rooms `models` and `tasks`."""
    contents = {}
    for room in ("models", "tasks"):
        spec = find_spec(room)
        for folder in spec.submodule_search_locations or [] if spec else []:
            for file in sorted(Path(folder).rglob("*.py")):
                contents[f"{room}/{file.relative_to(folder).as_posix()}"] = file.read_text(encoding="utf-8")
    return digest_of(contents)


def run_key(watch: Watch, snapshot: str) -> str:
    """Return the key of the run that trains `watch` on `snapshot`."""
    learning = {name: value for name, value in watch.model_dump(mode="json").items() if name in LEARNING}
    return digest_of([learning, snapshot, code_digest()])[:32]


def run_folder(watch: Watch, snapshot: str) -> str:
    """Return the folder of that run in the lake."""
    return f"runs/{watch.name}/{run_key(watch, snapshot)}"


def publish(lake: Lake, key: str, about: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a step's output: arrays first, then the JSON beside them, which makes them count."""
    from safetensors.numpy import save

    lake.put(f"{key}.safetensors", save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    lake.put_json(f"{key}.json", about)


def published(lake: Lake, key: str) -> bool:
    """Tell whether a step's output is complete."""
    return lake.exists(f"{key}.json")


def about(lake: Lake, key: str) -> dict[str, Any]:
    """Read the JSON of a step's output."""
    value = lake.get_json(f"{key}.json")
    return dict(value)


def arrays_of(lake: Lake, key: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a step's output.

    Raises:
        LakeError: they are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(lake.get(f"{key}.safetensors")))
    except SafetensorError as error:
        raise LakeError(
            f"{lake.uri_of(key)}.safetensors is damaged: {error}; delete {key}.json and run again"
        ) from error
