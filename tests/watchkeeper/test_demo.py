"""The demo: the whole story on the shipped plant, as somebody sees it who has just installed Watchkeeper."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from watchkeeper.lake import Lake
from watchkeeper.promotion import read_audit
from watchkeeper.registry import Registry

WATCHES = Path(__file__).parents[2] / "watches"
TIMEOUT_S = 900
pytestmark = [pytest.mark.slow, pytest.mark.timeout(TIMEOUT_S)]


def test_the_demo_tells_the_whole_story(tmp_path: Path) -> None:
    """Train, score, drift, retrain, roll back: two versions, a report, an audit, and version 1 champion at the end."""
    done = subprocess.run(
        [Path(sys.executable).with_name("watchkeeper"), "--engine", "direct", "--watches", WATCHES, "demo"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    home = tmp_path / ".watchkeeper/demo"
    lake = Lake((home / "lake").as_uri())
    registry = Registry(f"sqlite:///{home / 'registry.db'}")

    assert [line.version for line in registry.versions("plant")] == [2, 1]
    assert registry.alias("plant", "champion").version == 1
    actions = [(decision.action, decision.version) for decision in read_audit(lake, "plant")]
    promoted = [("promoted", 1), ("promoted", 2), ("rolled back", 1)]
    refused = [("promoted", 1), ("refused", 2)]
    assert actions in (promoted, refused)
    if actions == refused:
        assert "nothing to roll back" in done.stdout
        assert "not good enough" in done.stdout

    pages = re.findall(r"report +(\S+\.html)", done.stdout)
    assert len([page for page in pages if "/drift-" in page]) == 3  # two checks, and the signpost at the end
    assert len([page for page in pages if "/evaluation-" in page]) == 2  # one a decision of the gate
    quality = [page for page in pages if "/quality-" in page]
    assert quality  # of what came in
    assert all((tmp_path / page).read_text().endswith("</html>\n") for page in quality)
    assert all((tmp_path / page).stat().st_size > 100_000 for page in pages if page not in quality)
    assert len(re.findall(r"event +watchkeeper\.drift\.detected \S+", done.stdout)) == 1
    assert lake.list("scores/watch=plant")
    assert not (tmp_path / ".watchkeeper/lake").exists()  # the demo keeps to its own folder

    shown = subprocess.run(
        [Path(sys.executable).with_name("watchkeeper"), "--home", home, "--watches", WATCHES, "report", "-w", "plant"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(read_audit(lake, "plant")[-1]) in shown.stdout
