"""The Prefect server of a run: whether anybody looks at it, and the log that they find there."""

import logging
import os
import threading

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

_attaching = threading.Lock()


def named_server() -> bool:
    """Whether people see the Prefect server of this run: not the private one of a plain command."""
    return bool(os.environ.get("PREFECT_API_URL")) and "OVSEG3R_PRIVATE_SERVER" not in os.environ


def show_logs() -> None:
    """Sends what the program logs inside of runs, from INFO on, to the named server, beside where it goes already. To
    be called in every process; again, it does nothing."""
    logger = logging.getLogger("ovseg3r")
    with _attaching:
        if not named_server() or any(isinstance(handler, APILogHandler) for handler in logger.handlers):
            return
        level = logger.getEffectiveLevel()
        for handler in logger.handlers:  # what is shown elsewhere stays what it was
            handler.setLevel(max(handler.level, level))
        logger.setLevel(min(level, logging.INFO))
        sending = APILogHandler()
        sending.addFilter(_belongs_to_a_run)
        logger.addHandler(sending)


def _belongs_to_a_run(record: logging.LogRecord) -> bool:
    """Steps of stages are not sent: there are many, and each run has its progress to show."""
    return record.name != "ovseg3r.progress" and (TaskRunContext.get() or FlowRunContext.get()) is not None
