import ast
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from watchkeeper.errors import VersionRefusedError
from watchkeeper.lake import Lake, digest
from watchkeeper.version import FORMAT, MANIFEST, REFERENCE, WEIGHTS, Manifest, read_version, write_version

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("flows", "tasks", "models", "serving", "watchkeeper")
ARRAYS = {
    "members/norm/x": np.arange(6, dtype=np.float32).reshape(2, 3),
    "members/pca/y": np.array([1.5, np.nan]),
    "turned": np.arange(6, dtype=np.int64).reshape(2, 3).T,
    "flag": np.array([True, False]),
    "none": np.empty(0, np.float32),
}
REFERENCE_TABLE = pa.table({"a": np.array([1.0, np.nan], np.float32), "series": ["x", "y"], "score": [0.1, 0.2]})


def manifest(**changes: object) -> Manifest:
    fields = {
        "format": FORMAT,
        "watch": "w",
        "run": "r" * 32,
        "snapshot": "000001-abc",
        "channels": ("a",),
        "series": ("x", "y"),
        "interval_s": 60.0,
        "held_out_from": datetime(2026, 1, 5, tzinfo=UTC),
        "window": 10,
        "code": "c",
        "seed": 3,
        "labels": {"anomalous": 1},
        "detector": {"weights": {"norm": 0.5}},
        "evaluation": {"norm": {"vus_pr": 0.5, "f1": None}},
    }
    return Manifest(**{**fields, **changes})


@pytest.fixture
def written(lake: Lake) -> tuple[str, str]:
    return write_version(lake, manifest(), ARRAYS, REFERENCE_TABLE)


@pytest.fixture
def place(written: tuple[str, str]) -> str:
    """The version's folder in the lake."""
    return written[0]


@pytest.fixture
def sha256(written: tuple[str, str]) -> str:
    return written[1]


@pytest.fixture
def folder(lake: Lake, place: str) -> Path:
    """The same folder on the disk, to do harm in."""
    return lake.path(place)


def test_a_version_reads_as_it_was_written(lake: Lake, place: str, sha256: str) -> None:
    """Manifest, arrays to the last bit, and reference."""
    version = read_version(lake, place, sha256)
    assert version.manifest.model_copy(update={"files": {}}) == manifest()
    assert version.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert version.arrays[name].dtype == array.dtype
        assert version.arrays[name].shape == array.shape
        assert version.arrays[name].tobytes() == array.tobytes()
    assert version.reference.schema == REFERENCE_TABLE.schema
    assert version.reference["a"].to_numpy().tobytes() == REFERENCE_TABLE["a"].to_numpy().tobytes()
    assert lake.list("") == sorted(f"{place}/{name}" for name in (MANIFEST, WEIGHTS, REFERENCE))
    assert place == f"versions/w/{'r' * 32}-{sha256[:12]}"


def test_no_thread_of_arrows_reads_pythons_bytes(
    lake: Lake, place: str, sha256: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lets go of them while the interpreter ends aborts the process: one command in seven, on busy cores."""
    readers: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            readers.append(threading.get_ident())
            return super().read(size)

    monkeypatch.setattr("watchkeeper.version.io.BytesIO", Watched)
    read_version(lake, place, sha256)
    assert set(readers) == {threading.get_ident()}


def test_equal_input_gives_equal_folders(lake: Lake, place: str, sha256: str, tmp_path: Path) -> None:
    """Bit for bit, whatever the order of the arrays; other input gets a folder of its own."""
    other = Lake((tmp_path / "other").as_uri())
    backwards = dict(reversed(ARRAYS.items()))
    assert write_version(other, manifest(), backwards, REFERENCE_TABLE) == (place, sha256)
    assert {key: other.get(key) for key in other.list("")} == {key: lake.get(key) for key in lake.list("")}
    seeded, digested = write_version(lake, manifest(seed=4), ARRAYS, REFERENCE_TABLE)
    assert (seeded, digested) != (place, sha256)
    assert read_version(lake, seeded, digested).manifest.seed == 4
    assert read_version(lake, place, sha256).manifest.seed == 3


def test_writing_it_again_mends_a_damaged_folder(lake: Lake, place: str, sha256: str) -> None:
    """Changed, missing and foreign files are all put right, in a folder as in a bucket."""
    whole = {key: lake.get(key) for key in lake.list("")}
    lake.put(f"{place}/{WEIGHTS}", b"changed")
    lake.delete(f"{place}/{REFERENCE}")
    lake.put(f"{place}/weights.pkl", b"foreign")
    lake.put(f"{place}/deep/weights.pkl", b"foreign")
    assert write_version(lake, manifest(), ARRAYS, REFERENCE_TABLE) == (place, sha256)
    assert {key: lake.get(key) for key in lake.list("")} == whole


def test_the_manifest_comes_last(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the others, so a writer that is killed leaves no version that could be half read."""
    written = []
    monkeypatch.setattr(Lake, "put", lambda _, key, __: written.append(key.rpartition("/")[2]))
    write_version(lake, manifest(), ARRAYS, REFERENCE_TABLE)
    assert written[-1] == MANIFEST
    assert sorted(written) == sorted([MANIFEST, WEIGHTS, REFERENCE])


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, REFERENCE])
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_one_changed_bit_is_refused(lake: Lake, place: str, folder: Path, sha256: str, name: str, where: float) -> None:
    """At the beginning, in the middle and at the end of each file; the message names the file and the way out."""
    data = bytearray((folder / name).read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(VersionRefusedError, match=rf"{name} .*SHA-256.*roll back to another version"):
        read_version(lake, place, sha256)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, REFERENCE])
def test_a_missing_file_is_refused(lake: Lake, place: str, folder: Path, sha256: str, name: str) -> None:
    """The message names it."""
    (folder / name).unlink()
    with pytest.raises(VersionRefusedError, match=rf"cannot read .*{name}: No such file"):
        read_version(lake, place, sha256)


def test_a_missing_folder_is_refused(lake: Lake) -> None:
    """So is a version of which nothing is there."""
    with pytest.raises(VersionRefusedError, match=r"cannot read .*nowhere"):
        read_version(lake, "nowhere", "0" * 64)


@pytest.mark.parametrize("name", ["weights.pkl", ".hidden", "folder/inside"])
def test_an_extra_file_is_refused(lake: Lake, place: str, sha256: str, name: str) -> None:
    """Nothing that the manifest does not name may lie in the folder."""
    lake.put(f"{place}/{name}", b"1")
    with pytest.raises(VersionRefusedError, match=f"files that its manifest does not name: {name}"):
        read_version(lake, place, sha256)


def test_the_wrong_digest_is_refused(lake: Lake, place: str, sha256: str) -> None:
    """A whole folder put in the place of another one is found out."""
    wrong = digest(b"another")
    with pytest.raises(VersionRefusedError, match=f"SHA-256 {sha256[:12]}…, registered {wrong[:12]}…"):
        read_version(lake, place, wrong)


def rewrite(folder: Path, change: Callable[[dict[str, object]], object]) -> str:
    """Change the manifest and return its new digest, as one who holds the registry could."""
    text = json.dumps(change(json.loads((folder / MANIFEST).read_bytes()))).encode()
    (folder / MANIFEST).write_bytes(text)
    return digest(text)


@pytest.mark.parametrize("extra", [{}, {"what_is_new": 1}])
def test_an_unknown_format_is_refused(lake: Lake, place: str, folder: Path, extra: dict[str, int]) -> None:
    """A later format may have other fields; the message is about the format all the same."""
    known = rewrite(folder, lambda old: {**old, "format": FORMAT + 1, **extra})
    with pytest.raises(VersionRefusedError, match=rf"format {FORMAT + 1} is not known, wanted {FORMAT}; update"):
        read_version(lake, place, known)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"3", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(lake: Lake, place: str, folder: Path, text: bytes) -> None:
    """Neither broken JSON nor another JSON value gives a traceback."""
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(VersionRefusedError, match=r"manifest\.json cannot be understood"):
        read_version(lake, place, digest(text))


def test_a_manifest_with_unknown_or_missing_fields_is_refused(lake: Lake, place: str, folder: Path) -> None:
    """The message names the field."""
    known = rewrite(folder, lambda old: {**old, "extra": 1})
    with pytest.raises(VersionRefusedError, match="unknown key extra"):
        read_version(lake, place, known)
    known = rewrite(folder, lambda old: {name: value for name, value in old.items() if name not in ("extra", "seed")})
    with pytest.raises(VersionRefusedError, match="seed: Field required"):
        read_version(lake, place, known)


def test_weights_that_are_no_safetensors_are_refused(lake: Lake, place: str, folder: Path) -> None:
    """Even if every checksum fits."""
    (folder / WEIGHTS).write_bytes(b"\x80\x04K\x01.")
    known = rewrite(folder, lambda old: {**old, "files": {**old["files"], WEIGHTS: digest(b"\x80\x04K\x01.")}})  # type: ignore[dict-item]
    with pytest.raises(VersionRefusedError, match="is no safetensors file"):
        read_version(lake, place, known)


def test_a_reference_that_is_no_parquet_is_refused(lake: Lake, place: str, folder: Path) -> None:
    """The same for the reference."""
    (folder / REFERENCE).write_bytes(b"no")
    known = rewrite(folder, lambda old: {**old, "files": {**old["files"], REFERENCE: digest(b"no")}})  # type: ignore[dict-item]
    with pytest.raises(VersionRefusedError, match="is no Parquet file"):
        read_version(lake, place, known)


UNSAFE_MODULES = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
UNSAFE_CALLS = {
    ("torch", "load"), ("torch", "save"), ("np", "load"), ("np", "save"), ("numpy", "load"),
    ("pd", "read_pickle"), ("yaml", "load"),
}  # fmt: skip


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def _refuses_pickles(call: ast.Call) -> bool:
    return any(keyword.arg == "allow_pickle" and _is_false(keyword.value) for keyword in call.keywords)


def unsafe(text: str) -> list[str]:
    """What in a Python file could load or write a pickle."""
    found: list[str] = []
    told: list[ast.expr] = []  # functions called with allow_pickle=False; a call is walked before what it calls
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] * (node.module.split(".")[0] in UNSAFE_MODULES)
            found += [f"{node.module}.{name.name}" for name in node.names if (node.module, name.name) in UNSAFE_CALLS]
        elif isinstance(node, ast.Call) and _refuses_pickles(node):
            told.append(node.func)
        elif node in told:
            continue
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{node.value.id}.{node.attr}"] * ((node.value.id, node.attr) in UNSAFE_CALLS)
            found += [node.attr] * (node.attr in ("to_pickle", "read_pickle"))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node.value):
            found.append("allow_pickle")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            found.append(node.func.id)
    return found


@pytest.mark.parametrize(
    "text",
    ["import pickle", "import joblib as j", "from pickle import loads", "import torch\ntorch.load('x')",
     "from torch import save", "import numpy as np\nnp.load('x', allow_pickle=True)", "frame.to_pickle('x')",
     "import numpy as np\nnp.load('x')",
     "import numpy as np\nnp.load('x', allow_pickle=np.load('y', allow_pickle=False))",
     "eval('1')"],
)  # fmt: skip
def test_the_search_for_pickles_finds_them(text: str) -> None:
    """Else the next test would say nothing."""
    assert unsafe(text)


def test_no_room_can_load_a_pickle() -> None:
    """Neither pickle nor what is built on it is used anywhere in the product."""
    files = [path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")]
    assert len(files) > 50
    found = {str(path.relative_to(REPOSITORY)): unsafe(path.read_text(encoding="utf-8")) for path in files}
    assert {name: calls for name, calls in found.items() if calls} == {}


LOAD_WITHOUT_MLFLOW = """
import sys
for name in ("mlflow", "prefect", "sqlalchemy", "boto3"):
    sys.modules[name] = None
import numpy as np
from models.detector import Detector
from watchkeeper.lake import Lake
from watchkeeper.version import read_version
version = read_version(Lake(sys.argv[1]), sys.argv[2], sys.argv[3])
detector = Detector.from_arrays(version.manifest.detector, version.arrays)
values = version.reference["a"].to_numpy().reshape(-1, 1)
scored, _ = detector.score("x", values, np.arange(len(values), dtype=np.int64))
print(scored.score.tobytes().hex())
"""


def test_a_version_loads_and_scores_without_mlflow(lake: Lake) -> None:
    """A process that cannot import MLflow gives the scores of the process that trained, to the last bit."""
    from models.detector import Detector, DetectorConfig
    from models.parts import CalibrationPart, TrainPart
    from models.scaler import Scaler

    values = np.random.default_rng(0).normal(size=(400, 1)).astype(np.float32)
    times, label = np.arange(400, dtype=np.int64), np.full(400, -1, np.int8)
    scaler = Scaler.fit({"x": values[:200]})
    scaled = scaler.transform("x", values)
    config = DetectorConfig(window=10, members=("norm", "ridge"), alarm_budget_per_day=2.0, interval_s=60.0)
    train = {"x": TrainPart(scaled[:200], times[:200], label[:200])}
    calibration = {"x": CalibrationPart(scaled[210:], times[210:], label[210:])}
    detector = Detector.fit(scaler, train, calibration, config, seed=0)
    table = pa.table({"a": values[:, 0]})
    place, sha256 = write_version(lake, manifest(detector=detector.config()), detector.arrays(), table)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_MLFLOW, lake.uri, place, sha256],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted, _ = detector.score("x", values, times)
    assert done.stdout.strip() == wanted.score.tobytes().hex()
