"""The habit every stage shares: reuse what is committed, else work in an attempt and commit it."""

import logging
import time
from collections.abc import Callable
from typing import Any

from storage.stages import Attempt, StageRef, Stages
from storage.store import Store
from tasks.limits import gpu_slot
from tasks.progress import announce, check_stop

logger = logging.getLogger("ovseg3r.stage")


def run_stage(
    store_url: str,
    stage: str,
    digest: str,
    work: Callable[[Stages, Attempt], dict[str, Any]],
    device: Callable[[], str | None] = lambda: None,
) -> StageRef:
    """The stage's committed output; ``work`` fills an attempt and returns its summary when there is none yet.

    device: asked before work, the torch device that it computes on: on a GPU it waits for a slot, which no second
    counts.

    What an attempt wrote before an error is deleted at once; what a killed one wrote is never seen and falls to garbage
    collection.
    """
    check_stop()
    stages = Stages(Store.open(store_url))
    known = stages.committed(stage, digest)
    if known is not None:
        announce(stage, 1, 1, reused=True)
        return known
    with gpu_slot(device()):
        return _run(stages, stage, digest, work)


def _run(stages: Stages, stage: str, digest: str, work: Callable[[Stages, Attempt], dict[str, Any]]) -> StageRef:
    attempt = stages.begin(stage, digest)
    start = time.perf_counter()
    try:
        summary = work(stages, attempt)
    except BaseException as error:
        _discard(stages, attempt)
        winner = stages.committed(stage, digest) if isinstance(error, Exception) else None
        if winner is None:
            raise
        # Another process committed this very output meanwhile, and its commit took away the parts read here.
        logger.info("%s was done by another process", stage)
        return winner
    seconds = time.perf_counter() - start
    logger.info("%s done in %.1f s", stage, seconds)
    return stages.commit(attempt, summary, seconds)


def _discard(stages: Stages, attempt: Attempt) -> None:
    try:
        stages.discard(attempt)
    except Exception as error:  # the first error is the one to report
        logger.warning("could not clean up after a failed %s stage: %s", attempt.stage, error)
