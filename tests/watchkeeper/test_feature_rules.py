"""The table [features] of a watch file: what it asks for, and how a mistake in it is told."""

from pathlib import Path

import pytest

from watchkeeper.errors import WatchError
from watchkeeper.features import MOST_COLUMNS, FeatureRule
from watchkeeper.watch import load_watch

CHANNELS = ("temp in", "temp_out", "flow")


def load(folder: Path, features: str, channels: str = '["temp in", "temp_out", "flow"]') -> FeatureRule:
    """The rule of a watch file with this table."""
    (folder / "pump.toml").write_text(
        f'channels = {channels}\n[source]\nkind = "parquet"\nfolder = "/data"\n[features]\n{features}\n'
    )
    return load_watch("pump", folder).features


def test_a_watch_has_no_features_unless_it_says_so(tmp_path: Path) -> None:
    """None is the default, and an empty table is none."""
    assert not FeatureRule().any()
    assert not load(tmp_path, "").any()
    assert load(tmp_path, "difference = [1]").any()


def test_columns_come_by_kind_and_span_with_the_channels_that_they_are_made_of(tmp_path: Path) -> None:
    """Names say what they are; a clock is made of no channel."""
    rule = load(
        tmp_path,
        'rolling = ["mean", "std"]\nspans = [10, 60]\ndifference = [1]\nchannels = ["flow"]\nclock = ["hour"]\n'
        'correlate = [["flow", "temp in"]]\nratio = [["flow", "temp_out"]]\n'
        '[features.expressions]\ndelta_t = "temp_out - `temp in`"',
    )
    assert rule.columns(CHANNELS) == {
        "flow.mean.10": ("flow",), "flow.std.10": ("flow",), "flow.mean.60": ("flow",), "flow.std.60": ("flow",),
        "flow~temp in.correlation.10": ("flow", "temp in"), "flow~temp in.correlation.60": ("flow", "temp in"),
        "flow.difference.1": ("flow",), "hour.sin": (), "hour.cos": (),
        "flow/temp_out": ("flow", "temp_out"), "delta_t": ("temp_out", "temp in"),
    }  # fmt: skip
    assert rule.reach() == 59


def test_all_channels_are_taken_where_none_is_named() -> None:
    """In their order."""
    assert list(FeatureRule(difference=(2,)).columns(CHANNELS)) == [f"{name}.difference.2" for name in CHANNELS]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ('rolling = ["median"]\nspans = [10]', "features.rolling.0: Input should be 'mean', 'std'"),
        ('rolling = ["mean"]', "features: spans go with rolling or correlate"),
        ("spans = [10]", "features: spans go with rolling or correlate"),
        ('rolling = ["mean"]\nspans = [1]', "features.spans.0: Input should be greater than or equal to 2"),
        ('rolling = ["mean"]\nspans = [10001]', "features.spans.0: Input should be less than or equal to 10000"),
        ('rolling = ["mean"]\nspans = [10, 10]', "features.spans: 10 stands twice"),
        ("difference = [0]", "features.difference.0: Input should be greater than or equal to 1"),
        ('channels = ["flow"]', "channels are those of rolling and difference, found neither"),
        ('difference = [1]\nchannels = ["flo"]', "features.channels: channel flo is not known; known are temp in"),
        ('clock = ["month"]', "features.clock.0: Input should be 'hour' or 'weekday'"),
        ('clock = ["hour"]\nzone = "Berlin"', "features.zone: no time zone; wanted a name like Europe/Berlin"),
        ('zone = "Europe/Berlin"', "zone is that of clock, found no clock"),
        ('ratio = [["flow", "depth"]]', "features.ratio: channel depth is not known"),
        ('ratio = [["flow", "flow"]]', "features.ratio: a pair is of two channels, found flow twice"),
        ('ratio = [["flow"]]', "features.ratio.0.1: Field required"),
        ('correlate = [["x", "flow"]]\nspans = [9]', "features.correlate: channel x is not known"),
        ("entropy = [10]", "unknown key features.entropy"),
        ('[features.expressions]\nx = "flow +"', "features.expressions: x: ends where a channel"),
        ('[features.expressions]\nx = "temp in"', "x: character 6: found 'in', wanted an operator"),
        ('[features.expressions]\nx = "exit(flow)"', "x: character 1: there is no function exit"),
        ('[features.expressions]\nx = "depth"', "features.expressions.x: channel depth is not known"),
        ('[features.expressions]\nflow = "temp_out"', "features: flow would be the name of two columns"),
        ('[features.expressions]\ntimestamp = "flow"', "features: timestamp would be the name of two columns"),
        ('[features.expressions]\n"a b" = "flow"', "'a b': a name holds letters, digits"),
        ("[features.expressions]\nx = 3", "features.expressions.x: Input should be a valid string"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, features: str, said: str) -> None:
    """At load, before anything is read."""
    with pytest.raises(WatchError) as caught:
        load(tmp_path, features)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "pump.toml"))
    assert "\n" not in str(caught.value)


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    """They would fill the memory before anybody noticed."""
    rule = FeatureRule(rolling=("mean", "std"), spans=tuple(range(2, 902)))
    with pytest.raises(WatchError, match=f"5400 columns, at most {MOST_COLUMNS}"):
        rule.columns(CHANNELS)
    many = "\n".join(f'x{index} = "flow"' for index in range(65))
    with pytest.raises(WatchError, match="at most 64 expressions"):
        load(tmp_path, f"[features.expressions]\n{many}")
