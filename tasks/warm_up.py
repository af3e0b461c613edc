"""Warm-up: pseudo-labels for the agent's replay buffer, from the extremes of an Isolation Forest."""

import numpy as np

from models.agent_config import AgentConfig
from models.warm_up import warm_up as find_extremes
from tasks import runs
from tasks.prepare import read_learning
from tasks.step import step
from tasks.train_vae import read_detector
from watchkeeper.lake import Lake
from watchkeeper.records import Prepared, Trained, WarmedUp
from watchkeeper.watch import Watch


def agent_config(watch: Watch, device: str = "cpu") -> AgentConfig:
    """Return the agent's configuration for a watch."""
    return AgentConfig(
        episodes=watch.agent.episodes,
        label_budget=watch.labels.budget,
        window=watch.window,
        stride=max(watch.stride, watch.window // 5),  # a fifth of a window tells the forest enough
        device=device,
    )


@step()
def warm_up(lake_uri: str, watch: Watch, prepared: Prepared, base: Trained) -> WarmedUp:
    """Label the extremes of the training rows, for the agent to begin with."""
    if not watch.agent.enabled:
        return WarmedUp(key="", anomalous=0, normal=0)
    lake = Lake(lake_uri)
    key = f"{runs.run_folder(watch, prepared.snapshot)}/warm_up"
    if not runs.published(lake, key):
        detector, config = read_detector(lake, base), agent_config(watch)
        observations = {
            series: detector.observe(series, parts.train.values)[0]
            for series, parts in read_learning(lake, watch, prepared).items()
        }
        pseudo = find_extremes(
            observations,
            window=config.window,
            stride=config.stride,
            anomalous=config.pseudo_anomalous,
            normal=config.pseudo_normal,
            seed=watch.seed,
        )
        counts = {
            "anomalous": sum(int(np.sum(label == 1)) for label in pseudo.values()),
            "normal": sum(int(np.sum(label == 0)) for label in pseudo.values()),
        }
        runs.publish(lake, key, counts, pseudo)
    counts = runs.about(lake, key)
    return WarmedUp(key=key, anomalous=counts["anomalous"], normal=counts["normal"])
