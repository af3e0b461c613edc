"""Expressions over channels, evaluated: a stack of arrays, and one numpy call a step.

The other half is watchkeeper/expressions.py, where they are parsed.
"""

from collections.abc import Callable, Mapping

import numpy as np

from models.spans import Wide, rolling_extremes, rolling_moments
from watchkeeper.expressions import FUNCTIONS, Expression, Step

PLAIN: Mapping[str, Callable[..., Wide]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
    "min": np.minimum,
    "max": np.maximum,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
}
"""Functions of one row."""
OPERANDS = {"neg": 1, **FUNCTIONS}
"""How many values they take, where not two."""


def evaluate(expression: Expression, columns: Mapping[str, Wide], rows: int) -> Wide:
    """Return the value at each of the last rows.

    Args:
        expression: parsed.
        columns: float64 (at least reach + rows,) of each channel that it names, all of one length.
        rows: of the result.

    Returns:
        float64 (rows,); not finite where the expression has no value: a division by zero, the root of what is
        negative, a missing reading within a span.
    """
    longest = len(next(iter(columns.values())))
    stack: list[Wide] = []
    with np.errstate(all="ignore"):
        for step in expression.steps:
            if step.kind == "number":
                stack.append(np.full(longest, step.number))
            elif step.kind == "channel":
                stack.append(columns[step.name])
            elif step.name in PLAIN:
                count = OPERANDS.get(step.name, 2)
                values = stack[-count:]
                shortest = min(len(value) for value in values)  # all end with the latest row
                stack[-count:] = [PLAIN[step.name](*(value[len(value) - shortest :] for value in values))]
            else:
                stack[-1] = _spanning(step, stack[-1])
    return stack[-1][-rows:]


def _spanning(step: Step, x: Wide) -> Wide:
    """Apply a function of several rows: what it returns is shorter by the rows that it looks back on."""
    span = int(step.number)
    match step.name:
        case "lag":
            return x[:-span]
        case "difference":
            return x[span:] - x[:-span]
        case "mean":
            return rolling_moments(x, [span])[span][0]
        case "std":
            return rolling_moments(x, [span], std=True)[span][1]
        case "slope":
            return rolling_moments(x, [span], slope=True)[span][2]
        case "lowest" | "highest":
            return rolling_extremes(x, [span], largest=step.name == "highest")[span]
        case _:
            raise ValueError(f"no function {step.name}")
