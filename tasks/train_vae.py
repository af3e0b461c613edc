"""Train the VAE and fit the other base members, on training rows; calibrate on the calibration rows."""

from typing import Any

from models.detector import Detector, DetectorConfig
from tasks import runs
from tasks.prepare import read_features, read_learning, read_scaler
from tasks.step import step
from watchkeeper.errors import SettingsError
from watchkeeper.lake import Lake
from watchkeeper.progress import progress_of
from watchkeeper.records import Prepared, Trained
from watchkeeper.watch import Watch


@step()
def train_vae(lake_uri: str, watch: Watch, prepared: Prepared, device: str, threads: int) -> Trained:
    """Fit the detector without the agent: the VAE, and the members that cost next to nothing beside it."""
    lake = Lake(lake_uri)
    key = f"{runs.run_folder(watch, prepared.snapshot)}/base"
    if not runs.published(lake, key):
        set_up_torch(device, threads)
        learning = read_learning(lake, watch, prepared)
        config = DetectorConfig(
            window=watch.window,
            members=watch.members,
            alarm_budget_per_day=watch.alarms.budget_per_day,
            interval_s=prepared.interval_s,
            device=device,
        )
        detector = Detector.fit(
            read_scaler(lake, prepared),
            {series: parts.train for series, parts in learning.items()},
            {series: parts.calibration for series, parts in learning.items()},
            config,
            watch.seed,
            progress_of("train vae"),
            read_features(lake, watch, prepared),
        )
        about = {"detector": detector.config(), "history": detector.history(), "members": list(watch.members)}
        runs.publish(lake, key, about, detector.arrays())
    history = runs.about(lake, key)["history"].get("vae", [])
    return Trained(key=key, members=watch.members, summary=f"members {', '.join(watch.members)}{_loss(history)}")


def set_up_torch(device: str, threads: int) -> None:
    """Set how many threads networks train with, and check that the device is there.

    Raises:
        SettingsError: the device is `cuda` and this machine has none that PyTorch can use.
    """
    import torch

    torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device cuda: PyTorch finds no GPU on this machine; use --device cpu, or mend the driver")


def read_detector(lake: Lake, trained: Trained) -> Detector:
    """Read a detector that a step has published."""
    return Detector.from_arrays(runs.about(lake, trained.key)["detector"], runs.arrays_of(lake, trained.key))


def _loss(history: list[dict[str, Any]]) -> str:
    if not history:
        return ""
    return f"; VAE loss {history[0]['loss']:.3g} to {history[-1]['loss']:.3g} in {len(history)} epochs"
