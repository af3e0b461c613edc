"""The live scorer says what the detector says, from a folder alone."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.detector import Detector, DetectorConfig
from models.parts import CalibrationPart, TrainPart
from models.scaler import Scaler
from serving.live import LiveScorer
from watchkeeper.clock import to_datetime
from watchkeeper.errors import DataError, VersionRefusedError
from watchkeeper.lake import Lake
from watchkeeper.version import WEIGHTS, Manifest, write_version

CHANNELS = ("level", "flow", "speed")
MINUTE_US = 60_000_000


def _rows(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    day = np.sin(np.arange(n) / 1440 * 2 * np.pi)[:, None]
    return (day * [1.0, 2.0, 3.0] + rng.normal(0, 0.1, (n, 3))).astype(np.float32)


@pytest.fixture(scope="module")
def detector() -> Detector:
    raw = _rows(3000, seed=0)
    scaler = Scaler.fit({"a": raw[:2000]})
    scaled = scaler.transform("a", raw)
    times, label = np.arange(3000, dtype=np.int64) * MINUTE_US, np.full(3000, -1, np.int8)
    config = DetectorConfig(window=20, members=("norm", "pca", "ridge"), alarm_budget_per_day=2.0, interval_s=60.0)
    train = {"a": TrainPart(scaled[:2000], times[:2000], label[:2000])}
    calibration = {"a": CalibrationPart(scaled[2000:], times[2000:], label[2000:])}
    return Detector.fit(scaler, train, calibration, config, seed=0)


@pytest.fixture(scope="module")
def folder(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, str, str]:
    lake = Lake(tmp_path_factory.mktemp("lake").as_uri())
    manifest = Manifest(
        format=1, watch="w", run="r", snapshot="s", channels=CHANNELS, series=("a",), interval_s=60.0,
        held_out_from=datetime(2026, 1, 1, tzinfo=UTC), window=20, code="c", seed=0, labels={},
        detector=detector.config(), evaluation={},
    )  # fmt: skip
    return lake, *write_version(lake, manifest, detector.arrays(), pa.table({"score": [0.0]}))


def _new_rows() -> tuple[np.ndarray, np.ndarray]:
    values = _rows(300, seed=1)
    values[150:155] += [8.0, 0.0, 0.0]  # the first channel leaves its relations
    values[40:43, 1] = np.nan
    return values, (3000 + np.arange(300, dtype=np.int64)) * MINUTE_US


def test_reading_by_reading_says_what_the_whole_does(detector: Detector, folder: tuple[Lake, str, str]) -> None:
    """Readings scored one at a time get the score, threshold and alarm of a single batch."""
    values, times = _new_rows()
    whole, _ = detector.score("a", values, times)
    live = LiveScorer(*folder)
    answers = [live.score("a", [to_datetime(t)], values[i : i + 1])[0] for i, t in enumerate(times)]
    np.testing.assert_allclose([answer.score for answer in answers], whole.score, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([answer.threshold for answer in answers], whole.threshold, rtol=1e-5)
    assert [answer.alarm for answer in answers] == whole.alarm.tolist()


def test_an_alarm_names_the_channel_that_made_it(folder: tuple[Lake, str, str]) -> None:
    """The channel that was disturbed stands first in the alarm, and quiet readings name none."""
    values, times = _new_rows()
    answers = LiveScorer(*folder).score("a", [to_datetime(t) for t in times], values)
    alarms = [answer for answer in answers[150:156] if answer.alarm]
    assert alarms
    assert alarms[0].channels[0][0] == "level"
    assert all(not answer.channels for answer in answers if not answer.alarm)


@pytest.mark.parametrize(("series", "width"), [("b", 3), ("a", 2)])
def test_what_the_version_does_not_know_is_refused(folder: tuple[Lake, str, str], series: str, width: int) -> None:
    """Another series or another number of channels is bad input."""
    with pytest.raises(DataError):
        LiveScorer(*folder).score(series, [to_datetime(0)], np.zeros((1, width), np.float32))


def test_a_changed_folder_is_refused(folder: tuple[Lake, str, str], tmp_path: Path) -> None:
    """One byte more in the weights and the version is not served."""
    lake, place, sha256 = folder
    copy = Lake(tmp_path.as_uri())
    for key in lake.list(place):
        copy.put(key, lake.get(key) + (b" " if key.endswith(WEIGHTS) else b""))
    with pytest.raises(VersionRefusedError, match=WEIGHTS):
        LiveScorer(copy, place, sha256)


def test_serving_needs_neither_mlflow_nor_prefect(folder: tuple[Lake, str, str]) -> None:
    """A version is loaded and scores in a process where MLflow, Prefect and Evidently cannot be imported."""
    lake, place, sha256 = folder
    script = (
        "import sys\n"
        "for name in ('mlflow', 'prefect', 'evidently'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from serving.live import LiveScorer\n"
        "from watchkeeper.lake import Lake\n"
        "from watchkeeper.clock import to_datetime\n"
        f"live = LiveScorer(Lake({lake.uri!r}), {place!r}, {sha256!r})\n"
        "print(live.score('a', [to_datetime(0)], np.zeros((1, 3), np.float32))[0].score)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(float(done.stdout))
