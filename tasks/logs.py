"""Where a task's lines go: inside a run to Prefect's own logger, for only that one reaches its server."""

import logging
from typing import Any

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

log = logging.getLogger("watchkeeper.tasks")


def logger() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """Return the logger of the run under way, or ours where there is none."""
    return log if FlowRunContext.get() is None else get_run_logger()
