from pathlib import Path

import pytest
import torch

from tasks.train_vae import set_up_torch
from tasks.warm_up import warm_up
from watchkeeper.errors import SettingsError
from watchkeeper.records import Prepared, Trained
from watchkeeper.watch import Watch


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for cuda on a machine without one is bad input, not a traceback out of PyTorch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="no GPU"):
        set_up_torch("cuda", 1)
    set_up_torch("cpu", 1)
    assert torch.get_num_threads() == 1


def test_without_an_agent_there_is_no_warm_up(tmp_path: Path) -> None:
    """A watch without an agent reads nothing and fits no forest."""
    watch = Watch(name="w", source={"kind": "parquet", "folder": str(tmp_path)}, agent={"enabled": False})
    prepared = Prepared(key="k", folder="f", snapshot="s", channels=("a",), series=("x",), interval_s=60, rows=1)
    done = warm_up((tmp_path / "lake").as_uri(), watch, prepared, Trained(key="b", members=(), summary=""))
    assert str(done) == "left out: agent.enabled is false"
    assert not (tmp_path / "lake").exists()
