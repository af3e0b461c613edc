"""A small watch whose whole life takes seconds: three channels, a row every ten minutes, members without a network."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from watchkeeper.lake import Lake
from watchkeeper.promotion import read_audit
from watchkeeper.records import Decision, Evaluation, Retrained
from watchkeeper.registry import Registry

DAY = 144
"""Rows in a day."""
Change = Callable[[np.ndarray], None]
"""Changes the values (time, channel) of a world in place."""


@dataclass
class Small:
    """The watch, its source and its home."""

    source: Any
    folder: Path

    def world(self, rows: int, anomalies: Mapping[int, float], *changes: Change, flip: slice | None = None) -> None:
        """Let so many rows be there: a labelled anomaly of a height in all channels for six rows at each place.

        Args:
            rows: of the series.
            anomalies: height by first row.
            changes: of the readings.
            flip: rows in which every label is the opposite of the truth.
        """
        table = self.source.table(rows, label={(at, at + 6): 1 for at in anomalies if at + 6 <= rows})
        values = np.stack([table[name].to_numpy() for name in "abc"], axis=1).copy()
        for change in changes:
            change(values)
        for at, height in anomalies.items():
            values[at : at + 6] += height
        for index, name in enumerate("abc", 1):
            table = table.set_column(index, name, [values[:, index - 1]])
        if flip:
            label = table["label"].to_numpy().copy()
            label[flip] = 1 - label[flip]
            table = table.set_column(4, "label", [label])
        self.source.write("pump", table)

    def watch(self, more: str = "", members: str = '"norm", "ridge"') -> None:
        """Write the watch file; `more` are further lines."""
        more += "" if "[split]" in more else "[split]\nheld_out = 0.25\n"
        (self.folder / "unit.toml").write_text(
            f'window = 10\nmembers = [{members}]\n[source]\nkind = "parquet"\nfolder = "{self.source.folder}"\n'
            f"[gate]\nresamples = 40\n{more}"
        )

    def retrain(self) -> Retrained:
        from flows.retrain import retrain

        return retrain.fn("unit")

    @property
    def lake(self) -> Lake:
        return Lake((self.folder / "home/lake").as_uri())

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.folder / 'home/registry.db'}")

    def audit(self) -> list[Decision]:
        return read_audit(self.lake, "unit")

    def champion(self) -> int:
        found = self.registry.alias("unit", "champion")
        assert found
        return found.version


def make_small(source: Any, folder: Path, beginning: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A small watch in a folder, which the settings of this process name.

    Args:
        source: of its rows.
        folder: of its watch file and its home.
        beginning: a home to copy, or the database of an empty registry.
        monkeypatch: sets the environment.
    """
    if beginning.is_dir():
        shutil.copytree(beginning, folder / "home")
    else:
        (folder / "home").mkdir()
        shutil.copy(beginning, folder / "home")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(folder / "home"))
    monkeypatch.setenv("WATCHKEEPER_WATCHES", str(folder))
    small = Small(source, folder)
    small.watch(AGENT_OFF)
    return small


AGENT_OFF = "[agent]\nenabled = false\n"


def figures(evaluation: Evaluation) -> tuple[float | None, float | None]:
    """VUS-PR of candidate and champion."""
    return evaluation.mean("combination", "vus_pr"), evaluation.mean("champion", "vus_pr")
