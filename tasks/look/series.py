"""What tells apart rows of one moment: nothing, a series, or in long form a channel."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tasks.look import Choice
from tasks.look.clocks import find_clock
from tasks.look.roles import CHANNEL_NAMES, SERIES_NAMES, VALUE_NAMES, Columns, filled, is_truth
from tasks.validate import RESERVED
from watchkeeper.errors import DataError
from watchkeeper.watch import NAME


def wide(found: Columns, numbers: list[str], words: list[str], cells: Mapping[str, list[str]]) -> Columns:
    """Return the columns of the wide form: numbers are channels, words are left out."""
    ignored = dict(found.ignored) | {name: why_word(cells[name]) for name in words}
    rename = {name: f"{name}_reading" for name in numbers if name in RESERVED or name in ("timestamp", "label")}
    channels = tuple(rename.get(name, name) for name in numbers)
    return replace(found, channels=channels, ignored=ignored, rename=rename)


def why_word(cells: list[str]) -> str:
    """Say why a column of words is left out."""
    present = filled(cells)
    if find_clock(present) is not None:
        return "is another clock"
    return "says the same in each row" if len(set(present)) == 1 else "holds words"


def with_series(
    found: Columns, cells: Mapping[str, list[str]], numbers: list[str], words: list[str], choice: Choice
) -> Columns:
    """Find what tells apart rows of one moment: a series, or in long form a channel."""
    times = [" ".join(row) for row in zip(*(cells[name] for name in found.time), strict=True)]
    names = [name for name in words if len(set(cells[name])) > 1 or name == choice.series]
    repeated = 1 - len(set(times)) / len(times)
    if repeated < 0.05 and not choice.series:
        return wide(found, numbers, words, cells)
    # Whole numbers may name a series too: 7, 8, 9.
    ids = [
        name
        for name in numbers
        if SERIES_NAMES.fullmatch(name.strip())
        and all(cell.isdigit() for cell in cells[name])
        and name != choice.series
    ]
    values = [name for name in numbers if name not in ids]
    candidates = [*names, *ids]
    if len(values) == 1:
        channel = _channel_of(values[0], candidates, cells, times, choice)
        if channel:
            others = [name for name in candidates if name != channel]
            series = choice.series or _parts(times, cells, others, with_column=channel)
            words_of = sorted(set(filled(cells[channel])))
            truths = {name: "tells where the anomalies are" for name in words_of if is_truth(name, choice)}
            readings = tuple(name for name in words_of if name not in truths)
            rename = {
                name: f"{name}_reading" for name in readings if name in RESERVED or name in ("timestamp", "label")
            }
            left = {name: why_word(cells[name]) for name in [*words, *ids] if name not in (channel, series)}
            return replace(
                found,
                series=series,
                channel=channel,
                value=values[0],
                channels=tuple(sorted(rename.get(name, name) for name in readings)),
                ignored={**found.ignored, **left, **truths},
                rename=rename,
            )
    series = choice.series or _parts(times, cells, candidates)
    if series is None:
        note = f"{repeated:.0%} of the times stand more than once, and no column tells those rows apart"
        return replace(wide(found, numbers, words, cells), notes=(*found.notes, note))
    values = [name for name in numbers if name != series]
    if not values:
        raise DataError(f"has no column of numbers beside its clock, label and {series}")
    whole = wide(found, values, [name for name in words if name != series], cells)
    if bad := [name for name in filled(cells[series]) if not NAME.fullmatch(name)]:
        note = f"series are named by letters, digits, '_', '-' and '.'; rows of {bad[0]!r} go to quarantine"
        whole = replace(whole, notes=(*whole.notes, note))
    return replace(whole, series=series)


def _parts(
    times: list[str], cells: Mapping[str, list[str]], names: Sequence[str], with_column: str | None = None
) -> str | None:
    """Return the column that tells rows of one time apart, those first that are called so."""
    for name in sorted(names, key=lambda one: not SERIES_NAMES.fullmatch(one.strip())):
        more = cells[with_column] if with_column else [""] * len(times)
        pairs = list(zip(times, more, cells[name], strict=True))
        alone = 1 - len(set(zip(times, more, strict=True))) / len(times)
        left = 1 - len(set(pairs)) / len(pairs)
        if left < 0.01 and alone > left and len(set(cells[name])) <= max(2, len(times) // 3):
            return name
    return None


def _channel_of(
    value: str, candidates: list[str], cells: Mapping[str, list[str]], times: list[str], choice: Choice
) -> str | None:
    """Return the column that names the channel of each row, where the table has the long form."""
    channels = [
        name
        for name in candidates
        if name != choice.series and CHANNEL_NAMES.fullmatch(name.strip()) and not cells[name][0].isdigit()
    ]
    if not channels or not (VALUE_NAMES.fullmatch(value.strip()) or len(channels) == 1):
        return None
    only_series = [name for name in candidates if SERIES_NAMES.fullmatch(name.strip()) and name not in channels]
    for name in channels:
        if _parts(times, cells, [name]) or any(_parts(times, cells, [one], with_column=name) for one in only_series):
            return name
    return None
