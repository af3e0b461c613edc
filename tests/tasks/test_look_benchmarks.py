"""Each benchmark's folder is known by what lies in it, and the watch on it takes in what was reported."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from tasks.ingest import ingest
from tasks.look import Choice
from tasks.look.look import look
from tasks.look.writer import write_watch
from watchkeeper.errors import DataError
from watchkeeper.sources import BenchmarkFormat
from watchkeeper.watch import load_watch

NOW = datetime(2026, 2, 1, tzinfo=UTC)
ROWS = 60
BAD = range(40, 50)
"""Rows that are anomalous."""


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def table(header: str, row: Callable[[int], str], rows: int = ROWS) -> str:
    return f"{header}\n" + "".join(f"{row(at)}\n" for at in range(rows))


def wave(at: int) -> str:
    return f"{np.sin(at / 5):.4f}"


def yahoo_s5(folder: Path) -> None:
    put(
        folder / "A1Benchmark/real_1.csv",
        table("timestamp,value,is_anomaly", lambda at: f"{at + 1},{wave(at)},{int(at in BAD)}"),
    )
    put(
        folder / "A3Benchmark/A3Benchmark-TS1.csv",
        table(
            "timestamps,value,anomaly,changepoint,trend,noise,seasonality1,seasonality2,seasonality3",
            lambda at: f"{1422237600 + 3600 * at},{wave(at)},0,0,1,1,1,1,1",
        ),
    )
    put(folder / "A3Benchmark/A3Benchmark_all.csv", "a,b\n1,2\n")  # fmt: skip


def smd(folder: Path) -> None:
    for machine in ("machine-1-1", "machine-1-2"):
        for part in ("train", "test"):
            put(folder / part / f"{machine}.txt", "".join(f"{wave(at)},{at / 60}\n" for at in range(ROWS)))
        put(folder / "test_label" / f"{machine}.txt", "".join(f"{int(at in BAD)}\n" for at in range(ROWS)))


def wadi(folder: Path) -> None:
    put(
        folder / "WADI_14days_new.csv",
        table("Row,Date,Time,1_AIT_001_PV,1_LS_001_AL", lambda at: f"{at},25/9/17,18:00:{at:02d},{wave(at)},{at}"),
    )
    put(
        folder / "WADI_attackdataLABLE.csv",
        ",,,c1,c2,\n"
        + table(
            'Row,Date,Time,1_AIT_001_PV,1_LS_001_AL,"Attack LABLE (1:No Attack, -1:Attack)"',
            lambda at: f"{at},10/9/17,00:{at:02d}.0,{wave(at)},{at},{-1 if at in BAD else 1}",
        ),
    )
    put(folder / "table_WADI.csv", "no,such\n")  # fmt: skip


def swat(folder: Path) -> None:
    header = ",P1,P1,\n Timestamp,FIT101, MV101,Normal/Attack"
    for name, month, words in (("Normal_v1", "12", ("Normal", "Normal")), ("Attack_v0", "12", ("Normal", "A ttack"))):
        day = 22 if "Normal" in name else 28
        put(folder / f"SWaT_Dataset_{name}.csv",
            table(header, lambda at: f" {day}/{month}/2015 4:{at:02d}:00 PM,{wave(at)},{at},{words[at in BAD]}"))  # noqa: B023 # used at once  # fmt: skip


def skab(folder: Path) -> None:
    def row(at: int) -> str:
        return f"2020-03-09 10:{at:02d}:33;{wave(at)};{at / 60}"

    for place in ("valve1", "valve2", "other"):
        put(
            folder / place / "1.csv",
            table("datetime;Flow RateRMS;Current;anomaly;changepoint", lambda at: f"{row(at)};{float(at in BAD)};0.0"),
        )
    put(folder / "anomaly-free/anomaly-free.csv", table("datetime;Flow RateRMS;Current", row))  # fmt: skip


def nab(folder: Path) -> None:
    def row(at: int) -> str:
        return f"2014-02-14 14:{at:02d}:00,{wave(at)}"

    put(folder / "data/realAWSCloudwatch/ec2_cpu.csv", table("timestamp,value", row))
    put(folder / "data/artificialNoAnomaly/flat.csv", table("timestamp,value", row))
    windows = [["2014-02-14 14:40:00.000000", "2014-02-14 14:49:00.000000"]]
    listed = {"realAWSCloudwatch/ec2_cpu.csv": windows, "artificialNoAnomaly/flat.csv": []}
    put(folder / "labels/combined_windows.json", json.dumps(listed))
    put(folder / "labels/combined_labels.json", "{}")


def telemetry(folder: Path, spacecraft: str) -> None:
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        np.save(folder / part / "P-2.npy", np.array([[float(wave(at)), at / 60] for at in range(ROWS)]))
    head = "chan_id,spacecraft,anomaly_sequences,class,num_values\n"
    put(folder / "labeled_anomalies.csv", f'{head}P-2,{spacecraft},"[[{BAD.start}, {BAD.stop - 1}]]",[point],{ROWS}\n')


def tsb_ad(folder: Path) -> None:
    for name in ("001_SMD_id_1_Facility_tr_20_1st_40", "002_SMD_id_2_Facility_tr_20_1st_40"):
        put(folder / f"{name}.csv", table("a,b,Label", lambda at: f"{wave(at)},{at / 60},{int(at in BAD)}"))


def ucr(folder: Path) -> None:
    name = f"001_UCR_Anomaly_DISTORTED1sddb40_20_{BAD.start + 1}_{BAD.stop}"
    put(folder / f"{name}.txt", "".join(f"{wave(at)}\n" for at in range(ROWS)))


MADE: dict[str, tuple[Callable[[Path], None], int, int, tuple[str, ...]]] = {
    # format: what makes its folder, rows, anomalous rows, series
    "yahoo_s5": (yahoo_s5, 2 * ROWS, 10, ("A3Benchmark-TS1", "real_1")),
    "smd": (smd, 4 * ROWS, 20, ("machine-1-1", "machine-1-2")),
    "wadi": (wadi, 2 * ROWS, 10, ("wadi",)),
    "swat": (swat, 2 * ROWS, 10, ("swat",)),
    "skab": (skab, 4 * ROWS, 30, ("anomaly-free", "other_1", "valve1_1", "valve2_1")),
    "nab": (nab, 2 * ROWS, 10, ("ec2_cpu", "flat")),
    "smap": (lambda folder: telemetry(folder, "SMAP"), 2 * ROWS, 10, ("P-2",)),
    "msl": (lambda folder: telemetry(folder, "MSL"), 2 * ROWS, 10, ("P-2",)),
    "tsb_ad": (tsb_ad, 2 * ROWS, 20, ("001_SMD_id_1_Facility_tr_20_1st_40", "002_SMD_id_2_Facility_tr_20_1st_40")),
    "ucr": (ucr, ROWS, 10, ("001_UCR_Anomaly_DISTORTED1sddb40_20_41_50",)),
}


def test_every_format_is_made_here() -> None:
    """A new one has to be recognised too."""
    assert set(MADE) == set(get_args(BenchmarkFormat))


@pytest.mark.parametrize("format", MADE)
def test_a_folder_is_known_by_what_lies_in_it(format: str, tmp_path: Path) -> None:
    """Whatever the folder is called: rows, labels and series are those of the format, and the watch takes them in."""
    make, rows, anomalous, series = MADE[format]
    folder = tmp_path / "as downloaded"
    make(folder)
    put(folder / "readme.md", "x")
    found = look(str(folder), Choice(), NOW)
    assert (found.source["kind"], found.source["format"]) == ("benchmark", format)
    assert (found.rows, found.anomalous, found.series, found.quarantined) == (rows, anomalous, series, {})
    (tmp_path / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    done = ingest((tmp_path / "lake").as_uri(), load_watch("w", tmp_path))
    assert (done.rows, done.refused, done.quarantined) == (rows, (), {})


@pytest.mark.parametrize("format", ["skab", "nab", "smap"])
def test_a_clone_of_the_repository_is_its_folder_too(format: str, tmp_path: Path) -> None:
    """SKAB and the telemetry lie a level down there, NAB does in any case."""
    make, rows, _, series = MADE[format]
    make(tmp_path / "clone" if format == "nab" else tmp_path / "clone/data")
    if format == "smap":
        (tmp_path / "clone/data/labeled_anomalies.csv").rename(tmp_path / "clone/labeled_anomalies.csv")
    found = look(str(tmp_path / "clone"), Choice(), NOW)
    assert (found.source["kind"], found.rows, found.series) == ("benchmark", rows, series)


def test_two_formats_in_a_folder_are_told(tmp_path: Path) -> None:
    """The one whose name the folder has is taken, else the one with more series; the other is a note."""
    folder = tmp_path / "msl"
    telemetry(folder, "SMAP")
    head = (folder / "labeled_anomalies.csv").read_text()
    (folder / "labeled_anomalies.csv").write_text(head + f'M-1,MSL,"[[1, 2]]",[point],{ROWS}\n')
    for part in ("train", "test"):
        np.save(folder / part / "M-1.npy", np.ones((ROWS, 3)) * np.arange(ROWS)[:, None])
    found = look(str(folder), Choice(), NOW)
    assert (found.source["format"], found.series) == ("msl", ("M-1",))
    assert found.notes == ("smap lies in the folder as well: 1 series",)


def test_collections_of_tsb_ad_are_told_apart(tmp_path: Path) -> None:
    """Their channels differ, so one has to be chosen; the message shows how."""
    tsb_ad(tmp_path / "TSB-AD-M")
    put(tmp_path / "TSB-AD-M/003_NAB_id_1_Facility_tr_20_1st_40.csv",
        table("Data,Label", lambda at: f"{wave(at)},0"))  # fmt: skip
    with pytest.raises(DataError, match=r'choose one: --files "\*_SMD_id_\*", --files "\*_NAB_id_\*"'):
        look(str(tmp_path / "TSB-AD-M"), Choice(), NOW)
    found = look(str(tmp_path / "TSB-AD-M"), Choice(files="*_SMD_id_*"), NOW)
    assert (found.rows, found.source["files"]) == (2 * ROWS, "*_SMD_id_*")


def test_a_clock_of_ones_own_is_written_down(tmp_path: Path) -> None:
    """For formats without one."""
    smd(tmp_path / "smd")
    start = datetime(2024, 5, 6, tzinfo=UTC)
    found = look(str(tmp_path / "smd"), Choice(start=start, interval_s=30.0), NOW)
    (tmp_path / "w.toml").write_text(write_watch(found, "w"), encoding="utf-8")
    source: Any = load_watch("w", tmp_path).source
    assert (source.start, source.interval_s, found.rhythm.interval_s) == (start, 30.0, 30.0)
    assert found.end == start + timedelta(seconds=30 * (2 * ROWS - 1))
