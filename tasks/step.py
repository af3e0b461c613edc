"""A step of the DAG: a function that is a Prefect task inside a flow run and a plain call outside of one.

So the same flow runs with Prefect's engine, and without a server when nobody asked for orchestration.
"""

import functools
import inspect
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.context import FlowRunContext

from tasks import artifacts
from tasks.logs import logger
from watchkeeper.errors import LakeError, RegistryError, SourceError
from watchkeeper.progress import listener, listening

P = ParamSpec("P")
R = TypeVar("R")

PAUSES_S: list[float] = [2, 10, 30]
"""Pauses before the first, second and third retry."""


def step(retries: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a step. Only steps that are I/O alone are retried; training is not.

    Args:
        retries: how often Prefect tries again, with growing pauses.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        name = getattr(function, "__name__", "step").replace("_", " ")
        signature = inspect.signature(function)

        @functools.wraps(function)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            who, began = artifacts.progress_listener(listener()), time.perf_counter()
            if who:
                who.started(name)
            try:
                with listening(who) if who else nullcontext():
                    result = function(*args, **kwargs)
            except BaseException:
                if who:
                    who.failed(name)
                raise
            seconds = time.perf_counter() - began
            if who:
                who.finished(name, seconds, str(result))
            logger().info("%s: %s (%.1f s)", name, result, seconds)
            artifacts.publish(result, signature.bind(*args, **kwargs).arguments.get("lake_uri"))
            return result

        # Outputs are found again by their own keys in the lake (tasks/runs.py), so Prefect's result cache would be a
        # second way to do the same.
        as_task = task(
            name=name,
            retries=retries,
            retry_delay_seconds=PAUSES_S[:retries] or None,
            retry_condition_fn=_worth_another_try,
            cache_policy=NO_CACHE,
        )(told)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return told(*args, **kwargs) if FlowRunContext.get() is None else as_task(*args, **kwargs)

        return call

    return wrap


def _worth_another_try(_task: object, _run: object, state: State[Any]) -> bool:
    """Bad input stays bad: only failures of storage, registry and databases are tried again."""
    try:
        state.result()
    except (LakeError, RegistryError, SourceError, OSError):
        return True
    except Exception:  # noqa: BLE001 - asked only whether to retry; Prefect raises the error itself
        return False
    return False
