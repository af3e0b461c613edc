"""How much memory training and scoring hold at most, by rows: `python benchmarks/speed.py --memory ROWS,ROWS`.

Each subject and size runs in a process of its own, because a process never gives its peak back:
`python benchmarks/memory.py SUBJECT ROWS` prints the peaks of one as JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from rich.table import Table

from models.agent import train_agent
from models.agent_config import AgentConfig
from models.detector import Detector, DetectorConfig
from models.member import Member
from models.members import create_member
from models.parts import CalibrationPart, TrainPart
from models.scaler import Scaler
from models.windows import Array
from watchkeeper.watch import Watch

CHANNELS, FEATURES, WINDOW = 38, 42, 50  # features of the agent: channels and four member scores
BAR_GIB = 4.0
Found = dict[str, str | int | float]


def made_up(rows: int, channels: int) -> Array:
    """Fabricate rows, float32 (rows, channels)."""
    return np.random.default_rng(0).standard_normal((rows, channels), dtype=np.float32)


def peak_gib() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def use_memory(subject: str, rows: int) -> dict[str, float]:
    """Train and score once, in a process of its own: GiB held at most, up to and with each stage."""
    peaks = {"imports": peak_gib()}
    values = made_up(rows, FEATURES if subject == "agent" else CHANNELS)
    peaks["input"] = peak_gib()
    score = use_detector(values) if subject == "detector" else use_member(subject, values)
    peaks["training"] = peak_gib()
    score()
    peaks["scoring"] = peak_gib()
    return peaks


def use_member(subject: str, values: Array) -> Callable[[], object]:
    """Fit a member, and return its scoring. Epochs are few: their number costs time, not memory."""
    member: Member
    if subject == "agent":  # replay, warm-up and rollouts are whole
        config = replace(AgentConfig(), label_budget=0, episodes=2, most_steps=50_000)
        member = train_agent({"a": values}, {"a": np.abs(values[:, 0])}, {}, None, config, 0).agent
    else:
        member = create_member(subject, WINDOW, epochs=1)
        member.fit({"a": values}, 0)
    return lambda: member.score("a", values)


def use_detector(values: Array) -> Callable[[], object]:
    """Fit the default members and what is around them, and return the scoring of raw rows."""
    times = np.arange(len(values), dtype=np.int64) * 60_000_000
    unknown = np.full(len(values), -1, np.int8)
    scaler, cut = Scaler.fit({"a": values}), len(values) // 2
    scaled = scaler.transform("a", scaler.fill_forward("a", values)[0])
    train = {"a": TrainPart(scaled[:cut], times[:cut], unknown[:cut])}
    calibration = {"a": CalibrationPart(scaled[cut:], times[cut:], unknown[cut:])}
    config = DetectorConfig(WINDOW, Watch.model_fields["members"].default, 2.0, 60.0, epochs=1)
    detector = Detector.fit(scaler, train, calibration, config, 0)
    del scaled, train, calibration
    return lambda: detector.score("a", values, times)


def memory(sizes: list[int], subjects: list[str]) -> list[Found]:
    """Run `use_memory` for each subject and size in its own process: its peaks, or the status it failed with."""
    found: list[Found] = []
    for subject in subjects:
        for rows in sizes:
            command = [sys.executable, __file__, subject, str(rows)]
            # S603: the command is this file, with arguments that it checks
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
            peaks = {"failed": done.returncode} if done.returncode else json.loads(done.stdout)
            found.append({"subject": subject, "rows": rows, **peaks})
    return found


def memory_table(found: list[Found]) -> Table:
    """One row for each subject and size."""
    table = Table(title=f"GiB held at most, {CHANNELS} channels, float32", title_justify="left", box=None)
    for heading in ("subject", "rows", "input", "after training", "after scoring", f"below {BAR_GIB:.0f} GiB"):
        table.add_column(heading, justify="left" if heading == "subject" else "right")
    for one in found:
        stages = [
            f"{float(one[stage]):.2f}" if stage in one else "failed" for stage in ("input", "training", "scoring")
        ]
        met = "scoring" in one and float(one["scoring"]) < BAR_GIB
        table.add_row(str(one["subject"]), f"{int(one['rows']):,}", *stages, "met" if met else "NOT met")
    return table


def main() -> None:
    """Measure one subject at one size."""
    parser = argparse.ArgumentParser(description="peak memory of one subject at one size, as JSON")
    parser.add_argument("subject", help="agent, detector, or the name of a base member")
    parser.add_argument("rows", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(use_memory(given.subject, given.rows)))


if __name__ == "__main__":
    main()
