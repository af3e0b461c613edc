import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.ingest import ingest
from tasks.sources import Batch, read_source
from tasks.validate import Before, validate
from watchkeeper.errors import DataError, WatchError
from watchkeeper.labels import label_samples, read_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Refusal
from watchkeeper.sources import BenchmarkSource
from watchkeeper.watch import Watch, load_watch

START = datetime(2020, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def read(
    folder: Path, format: str, until: datetime | None = None, seen: tuple[str, ...] = (), **more: Any
) -> list[Any]:
    return list(read_source(BenchmarkSource(kind="benchmark", folder=str(folder), format=format, **more), until, seen))


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def times(batch: Batch) -> list[datetime | None]:
    return batch.table["timestamp"].to_pylist()


def labels(batch: Batch) -> list[int]:
    """Labels as the validation reads them: 1, 0, or −1 where the source says nothing."""
    channels = tuple(name for name in batch.table.column_names if name not in ("timestamp", "label"))
    return validate(batch, channels, extra_allowed=False, before=Before()).label.tolist()


def test_yahoo_s5_calls_its_columns_in_three_ways(tmp_path: Path) -> None:
    """A1 counts hours from 1, A3 lays its parts open, and the files that hold a whole benchmark are passed over."""
    put(tmp_path / "A1Benchmark/real_1.csv", "timestamp,value,is_anomaly\n1,0.5,0\n2,0.25,1\n")
    put(tmp_path / "A2Benchmark/synthetic_9.csv", "timestamp,value,is_anomaly\n1416726000,7,0\n1416729600,NaN,1\n")
    a3 = "timestamps,value,anomaly,changepoint,trend,noise,seasonality1,seasonality2,seasonality3\n"
    put(tmp_path / "A3Benchmark/A3Benchmark-TS1.csv", a3 + "1422237600,-5,1,1,2,3,4,5,6\n")
    put(tmp_path / "A3Benchmark/A3Benchmark_all.csv", "a,b\n1,2\n")
    parts, real, synthetic = read(tmp_path, "yahoo_s5")
    assert [one.series for one in (parts, real, synthetic)] == ["A3Benchmark-TS1", "real_1", "synthetic_9"]
    assert times(real) == [START, START + timedelta(hours=1)]
    assert times(synthetic)[0] == datetime(2014, 11, 23, 7, tzinfo=UTC)
    assert (labels(real), labels(synthetic), labels(parts)) == ([0, 1], [0, 1], [1])
    assert {tuple(one.table.column_names) for one in (real, synthetic, parts)} == {("timestamp", "value", "label")}


def smd(folder: Path, name: str = "machine-1-1", rows: int = 5) -> None:
    table = "".join(f"{row / 10},{row}\n" for row in range(rows))
    put(folder / f"train/{name}.txt", table)
    put(folder / f"test/{name}.txt", table)
    put(folder / f"test_label/{name}.txt", "0\n1\n" + "0\n" * (rows - 2))


def test_smd_joins_its_three_folders(tmp_path: Path) -> None:
    """Test rows follow the training rows; nothing is known of the labels of these."""
    smd(tmp_path)
    (batch,) = read(tmp_path, "smd")
    assert (batch.series, batch.table.column_names) == ("machine-1-1", ["timestamp", "c00", "c01", "label"])
    assert times(batch) == [START + row * MINUTE for row in range(10)]
    assert labels(batch) == [-1] * 5 + [0, 1, 0, 0, 0]
    assert batch.table["c01"].to_pylist() == [0, 1, 2, 3, 4] * 2


def test_smd_by_a_clock_of_ones_own(tmp_path: Path) -> None:
    """`start` and `interval_s` say when the first row was read, and how far apart they are."""
    smd(tmp_path)
    later = datetime(2024, 5, 6, tzinfo=UTC)
    (batch,) = read(tmp_path, "smd", start=later, interval_s=0.5, until=later + timedelta(seconds=1))
    assert (times(batch), batch.content) == ([later, later + timedelta(seconds=0.5)], None)


def test_a_bad_machine_stops_no_other(tmp_path: Path) -> None:
    """Labels that are missing or too few, folders that differ, words: each is refused with its reason."""
    for name in ("a-few", "b-none", "c-width", "d-words", "e-good", "f-bad-row"):
        smd(tmp_path, name)
    put(tmp_path / "test_label/a-few.txt", "0\n1\n")
    (tmp_path / "test_label/b-none.txt").unlink()
    put(tmp_path / "test/c-width.txt", "1,2,3\n")
    put(tmp_path / "train/d-words.txt", "a,b\nc,d\n")
    put(tmp_path / "train/f-bad-row.txt", "1,2\n1,x\n1\n3,4\n5,6\n")
    *refused, good, bad_row = read(tmp_path, "smd")
    assert [(one.origin, one.reason) for one in refused] == [
        ("a-few.txt", "has 5 rows in test and 2 labels"),
        ("b-none.txt", "has no test_label/b-none.txt beside it"),
        ("c-width.txt", "has 2 channels in train and 3 in test"),
        ("d-words.txt", "d-words.txt holds words where numbers were wanted"),
    ]
    assert good.series == "e-good"
    assert bad_row.reasons.tolist()[:4] == ["", "reading is no number", "number of cells differs from the header's", ""]
    assert times(bad_row)[3] == START + 3 * MINUTE


def test_wadi_of_2017_has_junk_before_its_header(tmp_path: Path) -> None:
    """And the path of a machine before each channel; the clock shows the time in Singapore."""
    path = "\\\\WIN-25J4RO10SBF\\LOG_DATA\\SUTD_WADI\\LOG_DATA\\"
    header = f"Row,Date,Time,{path}1_AIT_001_PV,{path}2_LS_001_AL\r\n"
    junk = '"some title, with a comma"\r\n\r\n,,,,\r\nx\r\n'
    put(
        tmp_path / "WADI_14days.csv",
        junk + header + "1,9/25/2017,6:00:00.000 PM,171.1,\r\n2,9/25/2017,6:00:01.000 PM,-2,\r\n",
    )
    put(
        tmp_path / "WADI_attackdata.csv",
        "Row,Date,Time,1_AIT_001_PV,2_LS_001_AL\n1,10/9/2017,6:00:00.000 PM,1,\n,,,,\n",
    )
    put(tmp_path / "table_WADI.csv", "no,such\n")
    normal, attack = read(tmp_path, "wadi")
    assert normal.table.column_names == attack.table.column_names == ["timestamp", "1_AIT_001_PV", "2_LS_001_AL"]
    assert times(normal) == [datetime(2017, 9, 25, 10, tzinfo=UTC) + timedelta(seconds=row) for row in (0, 1)]
    assert times(attack) == [datetime(2017, 10, 9, 10, tzinfo=UTC), None]
    assert normal.table["2_LS_001_AL"].to_pylist() == [None, None]
    assert labels(normal) == [-1, -1]


def test_wadi_of_2019_has_labels_and_lost_its_hours(tmp_path: Path) -> None:
    """1 says no attack and −1 attack; the times of the attack file are counted from its documented beginning."""
    put(tmp_path / "WADI_14days_new.csv", "Row,Date,Time,1_AIT_001_PV\n1,25/9/17,18:00:00,1\n")
    put(
        tmp_path / "WADI_attackdataLABLE.csv",
        ',,,c1,\n"Row ",Date ,Time,1_AIT_001_PV,"Attack LABLE (1:No Attack, -1:Attack)"\n'
        "1,10/9/17,00:00.0,7,1\n2,10/9/17,00:01.0,8,-1\n3,10/9/17,00:02.0,9,5\n",
    )
    normal, attack = read(tmp_path, "wadi")
    assert times(normal) == [datetime(2017, 9, 25, 10, tzinfo=UTC)]
    assert times(attack) == [datetime(2017, 10, 9, 10, tzinfo=UTC) + timedelta(seconds=row) for row in range(3)]
    assert attack.table["label"].to_pylist() == [0, 1, None]
    assert attack.reasons.tolist() == ["", "", "label is neither 0, 1 nor missing"]


def test_swat_has_blanks_everywhere(tmp_path: Path) -> None:
    """In names, words and times; an attack is misspelt; a copy has semicolons and decimal commas; normal days first."""
    put(
        tmp_path / "SWaT_Dataset_Normal_v1.csv",
        ",P1,P1,\n Timestamp,FIT101, MV101,Normal/Attack\n 22/12/2015 4:00:00 PM,0.5, 2,Normal\n",
    )
    put(
        tmp_path / "SWaT_Dataset_Attack_v0.csv",
        " Timestamp;FIT101; MV101;Normal/Attack\n 28/12/2015 10:00:00 AM;2,427057;2;Normal\n"
        " 28/12/2015 12:00:01 PM;2;1;Attack\n 28/12/2015 12:00:02 PM;3,5;1;A ttack\n"
        " 28/12/2015 12:00:03 PM;3,5;1;Att\n",
    )
    normal, attack = read(tmp_path, "swat")
    assert normal.table.column_names == attack.table.column_names == ["timestamp", "FIT101", "MV101", "label"]
    assert times(normal) == [datetime(2015, 12, 22, 8, tzinfo=UTC)]
    assert times(attack)[:2] == [datetime(2015, 12, 28, 2, tzinfo=UTC), datetime(2015, 12, 28, 4, 0, 1, tzinfo=UTC)]
    assert attack.table["FIT101"].to_pylist() == pytest.approx([2.427057, 2, 3.5, 3.5])
    assert (labels(normal), labels(attack)) == ([0], [0, 1, 1])


def test_skab_has_equal_names_in_its_folders(tmp_path: Path) -> None:
    """A series is called after both; `changepoint` is no channel; all rows of anomaly-free are normal."""
    header = "datetime;Volume Flow RateRMS;Current"
    row = "2020-03-09 10:14:33;32.0;1e-1"
    for place in ("valve1", "other"):
        put(tmp_path / "data" / place / "1.csv", f"{header};anomaly;changepoint\n{row};1.0;0.0\n")
    put(tmp_path / "data/anomaly-free/anomaly-free.csv", f"{header}\n{row}\n")
    put(tmp_path / "data/elsewhere/1.csv", "x")
    free, other, valve = read(tmp_path, "skab")
    assert [one.series for one in (free, other, valve)] == ["anomaly-free", "other_1", "valve1_1"]
    assert (
        valve.table.column_names == free.table.column_names == ["timestamp", "Volume Flow RateRMS", "Current", "label"]
    )
    assert (labels(free), labels(other)) == ([0], [1])


def nab(folder: Path) -> Path:
    rows = "".join(f"2014-02-14 14:{minute:02d}:00,{minute}\n" for minute in range(0, 30, 5))
    put(folder / "data/realAWSCloudwatch/ec2_cpu_5f5533.csv", "timestamp,value\n" + rows)
    put(folder / "data/artificialNoAnomaly/art_flat.csv", "timestamp,value\n" + rows)
    put(folder / "data/realTweets/unlisted.csv", "timestamp,value\n" + rows + "2014-02-14 14:05:00,1\n")
    windows = [["2014-02-14 14:10:00.000000", "2014-02-14 14:20:00.000000"]]
    listed = {"realAWSCloudwatch/ec2_cpu_5f5533.csv": windows, "artificialNoAnomaly/art_flat.csv": []}
    return put(folder / "labels/combined_windows.json", json.dumps(listed))


def test_both_ends_of_a_nab_window_are_anomalous(tmp_path: Path) -> None:
    """A series without a window is normal; one that is not listed is unknown; a time told twice is set aside."""
    nab(tmp_path)
    flat, cpu, unlisted = read(tmp_path, "nab")
    assert [one.series for one in (flat, cpu, unlisted)] == ["art_flat", "ec2_cpu_5f5533", "unlisted"]
    assert (labels(cpu), labels(flat)) == ([0, 0, 1, 1, 1, 0], [0] * 6)
    valid = validate(unlisted, ("value",), extra_allowed=False, before=Before())
    assert (valid.label.tolist(), dict(valid.reasons())) == ([-1] * 6, {"timestamp stands twice": 1})


@pytest.mark.parametrize("text", ["[]x", '{"a": 3}', '{"a": [["noon", "night"]]}', "[1]"])
def test_windows_that_are_none_are_one_line(tmp_path: Path, text: str) -> None:
    """So is a file that is not there."""
    path = nab(tmp_path)
    path.write_text(text)
    with pytest.raises(DataError, match="is no list of windows"):
        read(tmp_path, "nab")
    path.unlink()
    with pytest.raises(DataError, match="NAB's labels belong there"):
        read(tmp_path, "nab")


SEQUENCES = 'chan_id,spacecraft,anomaly_sequences,class,num_values\nP-2,SMAP,"[[1, 2]]",[point],6\n'


def telemetry(folder: Path, name: str = "P-2", channels: int = 3) -> None:
    for part, rows in (("train", 4), ("test", 6)):
        path = put(folder / part / f"{name}.npy", b"")
        np.save(path, np.arange(rows * channels, dtype=np.float64).reshape(rows, channels))


def test_smap_reads_the_rows_of_its_own_spacecraft(tmp_path: Path) -> None:
    """Both ends of a sequence are anomalous, and a series that stands in the table twice has all its sequences."""
    telemetry(tmp_path / "data")
    telemetry(tmp_path / "data", "M-1", 5)
    more = 'P-2,SMAP,"[[5, 5]]",[point],6\nM-1,MSL,"[[0, 0]]",[point],6\n'
    put(tmp_path / "labeled_anomalies.csv", SEQUENCES + more)
    (smap,), (msl,) = read(tmp_path / "data", "smap"), read(tmp_path / "data", "msl")
    assert (smap.series, msl.series) == ("P-2", "M-1")
    assert labels(smap) == [-1] * 4 + [0, 1, 1, 0, 0, 1]
    assert smap.table["c01"].to_pylist() == [1, 4, 7, 10, 1, 4, 7, 10, 13, 16]
    assert msl.table.num_columns == 7


def test_arrays_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """Among them one that asks for pickle, which is never loaded, and one that is shorter than its anomalies."""
    put(
        tmp_path / "labeled_anomalies.csv",
        SEQUENCES + 'A-1,SMAP,"[]",[],1\nB-1,SMAP,"[]",[],1\nC-1,SMAP,"[[2, 6]]",[],1\n',
    )
    for name in ("A-1", "B-1", "C-1", "P-2"):
        telemetry(tmp_path, name)
    np.save(tmp_path / "test/A-1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    put(tmp_path / "train/B-1.npy", b"\x93NUMPY")
    pickled, cut, short, good = read(tmp_path, "smap")
    assert "test/A-1.npy is no readable array" in pickled.reason
    assert "train/B-1.npy is no readable array" in cut.reason
    assert short.reason == "has 6 rows in test, and an anomaly in rows 2 to 6"
    assert isinstance(good, Batch)


@pytest.mark.parametrize(
    "table", ["chan_id\nP-2\n", SEQUENCES.replace("[[1, 2]]", "[[1, 2"), SEQUENCES.replace("2]]", "x]]")]
)
def test_a_table_of_anomalies_that_is_none_is_one_line(tmp_path: Path, table: str) -> None:
    """So is one that is not there."""
    telemetry(tmp_path)
    with pytest.raises(DataError, match=r"there is no labeled_anomalies\.csv"):
        read(tmp_path, "smap")
    put(tmp_path / "labeled_anomalies.csv", table)
    with pytest.raises(DataError, match="is no table of anomalies"):
        read(tmp_path, "smap")


def test_tsb_ad_says_in_the_name_what_is_for_training(tmp_path: Path) -> None:
    """All columns but Label are channels; a file that holds no more than its training rows was cut."""
    put(tmp_path / "001_NAB_id_1_Facility_tr_2_1st_4.csv", "Data,Label\n1,0\n2,0\n3,0\n4,1\n")
    put(tmp_path / "002_SMD_id_7_Server_tr_4_1st_5.csv", "a,b,Label\n1,2,0\n3,4,1\n")
    put(tmp_path / "003_SMD_id_8_Server_tr_1_1st_2.csv", "a,b\n1,2\n3,4\n")
    put(tmp_path / "README.csv", "x\n")
    good, cut, unlabelled = read(tmp_path, "tsb_ad")
    assert (good.series, labels(good), good.table["Data"].to_pylist()) == (
        "001_NAB_id_1_Facility_tr_2_1st_4", [0, 0, 0, 1], [1, 2, 3, 4],
    )  # fmt: skip
    assert cut.reason == "has 2 rows, and 4 for training by its name"
    assert unlabelled.reason == "has no column Label"
    assert [one.series for one in read(tmp_path, "tsb_ad", files="*_NAB_id_*")] == [good.series]


@pytest.mark.parametrize("separator", ["\n", "  ", " \r\n"])
def test_ucr_says_in_the_name_where_its_anomaly_is(tmp_path: Path, separator: str) -> None:
    """Rows are counted from 1, both ends in; a few files have all their readings in one line."""
    numbers = ["1.0e+00", "2", "-3", "NaN", "x", "6", "7"]
    put(tmp_path / "001_UCR_Anomaly_DISTORTED1sddb40_2_4_6.txt", separator.join(numbers) + separator)
    put(tmp_path / "readme.txt", "x")
    (batch,) = read(tmp_path, "ucr")
    assert batch.series == "001_UCR_Anomaly_DISTORTED1sddb40_2_4_6"
    assert batch.table["label"].to_pylist() == [0, 0, 0, 1, 1, 1, 0]
    assert batch.table["value"].to_pylist()[:3] == [1, 2, -3]
    assert batch.reasons.tolist() == ["", "", "", "", "reading is no number", "", ""]


@pytest.mark.parametrize("numbers", ["2_4_9", "5_4_6", "2_6_4", "0_4_6"])
def test_ucr_numbers_that_do_not_fit_are_refused(tmp_path: Path, numbers: str) -> None:
    """A file that was cut short would have its label in the wrong place, or none."""
    put(tmp_path / f"001_UCR_Anomaly_x_1_{numbers}.txt", "1\n2\n3\n4\n5\n6\n7\n")
    (refused,) = read(tmp_path, "ucr")
    assert isinstance(refused, Refusal)
    assert "has 7 rows; by its name" in refused.reason


FORMATS = ["yahoo_s5", "smd", "wadi", "swat", "skab", "nab", "smap", "msl", "tsb_ad", "ucr"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_wrong_folder_is_one_line(tmp_path: Path, format: str) -> None:
    """A missing one, and one that holds something else."""
    with pytest.raises(DataError, match="does not exist; correct `folder`"):
        read(tmp_path / "nowhere", format)
    put(tmp_path / "notes.md", "x")
    with pytest.raises(DataError) as raised:
        read(tmp_path, format)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("format", ["wadi", "swat"])
def test_a_file_without_its_header_is_refused(tmp_path: Path, format: str) -> None:
    """The reason says which columns were wanted; an empty one is said to be empty."""
    put(tmp_path / "WADI_14days.csv", "a,b\n1,2\n")
    put(tmp_path / "WADI_attackdata.csv", b"")
    first, second = read(tmp_path, format)
    assert "no column" in first.reason
    assert second.reason == "is empty"


def test_an_unknown_format_is_one_line(tmp_path: Path) -> None:
    """It names the ones that there are."""
    put(tmp_path / "b.toml", f'[source]\nkind = "benchmark"\nformat = "smdd"\nfolder = "{tmp_path}"\n')
    with pytest.raises(WatchError, match=r"'yahoo_s5', 'smd'.*found 'smdd'"):
        load_watch("b", tmp_path)


def test_a_benchmark_is_ingested_once(tmp_path: Path, lake: Lake) -> None:
    """Labels end where those of any source do; a second ingest passes over it, and new labels make it new."""
    smd(tmp_path / "smd")
    watch = Watch(name="unit", source={"kind": "benchmark", "format": "smd", "folder": str(tmp_path / "smd")})
    done = ingest(lake.uri, watch)
    assert (done.new_rows, done.quarantined, done.refused) == (10, {}, ())
    events = read_labels(lake, tuple(lake.list("labels/watch=unit")))
    stamps = np.array([int((START + row * MINUTE).timestamp()) * 10**6 for row in range(10)])
    assert label_samples(events, "machine-1-1", stamps).tolist() == [-1] * 5 + [0, 1, 0, 0, 0]
    (known,) = read(tmp_path / "smd", "smd")
    assert ingest(lake.uri, watch).new_rows == 0
    assert read(tmp_path / "smd", "smd", seen=(known.content,)) == []
    put(tmp_path / "smd/test_label/machine-1-1.txt", "1\n" * 5)
    assert len(read(tmp_path / "smd", "smd", seen=(known.content,))) == 1
    assert pa.types.is_float32(known.table["c00"].type)
