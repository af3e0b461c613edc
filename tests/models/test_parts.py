from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.parts import CalibrationPart, HeldOutPart, Part, TrainPart, require_train, split_by_time
from watchkeeper.errors import DataError, LeakageError


def part(rows: int, kind: type[Part] = Part) -> Part:
    return kind(
        np.arange(rows, dtype=np.float32)[:, None], np.arange(rows, dtype=np.int64), np.full(rows, -1, dtype=np.int8)
    )


@given(rows=st.integers(200, 600), calibration=st.floats(0.1, 0.4), held_out=st.floats(0.1, 0.4), gap=st.integers(1, 9))
def test_parts_follow_one_another_with_the_gap_between(
    rows: int, calibration: float, held_out: float, gap: int
) -> None:
    split = split_by_time(part(rows), calibration, held_out, gap)
    ordered = [split.train.timestamps, split.calibration.timestamps, split.held_out.timestamps]
    assert ordered[0][0] == 0
    assert ordered[2][-1] == rows - 1
    for earlier, later in pairwise(ordered):
        assert later[0] - earlier[-1] == gap + 1


def test_each_part_has_its_own_type() -> None:
    split = split_by_time(part(100), 0.2, 0.2, 5)
    assert [type(p) for p in (split.train, split.calibration, split.held_out)] == [
        TrainPart,
        CalibrationPart,
        HeldOutPart,
    ]


@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (-0.1, 0.5)])
def test_unusable_shares_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="shares"):
        split_by_time(part(100), *shares, gap=5)


def test_a_short_series_is_refused() -> None:
    with pytest.raises(DataError, match="too short to split"):
        split_by_time(part(30), 0.2, 0.2, gap=10)


def test_arrays_of_a_part_are_read_only_and_of_one_length() -> None:
    with pytest.raises(ValueError, match="read-only"):
        part(3).values[0] = 1
    with pytest.raises(DataError, match="differ in length"):
        Part(np.zeros((3, 1), np.float32), np.arange(2, dtype=np.int64), np.zeros(3, np.int8))


@pytest.mark.parametrize("kind", [Part, CalibrationPart, HeldOutPart])
def test_only_training_rows_pass_the_door(kind: type[Part]) -> None:
    require_train({"a": part(3, TrainPart)})
    with pytest.raises(LeakageError, match=kind.__name__):
        require_train({"a": part(3, TrainPart), "b": part(3, kind)})
