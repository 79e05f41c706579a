"""When a stage is tried again: where what went wrong may pass. One set of options for all stages' tasks."""

from typing import Any, TypedDict

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.tasks import exponential_backoff

from storage.errors import StoreError

_PASSING = (StoreError, ConnectionError, TimeoutError, httpx.TransportError, ConcurrencySlotAcquisitionError)
_FIRST_WAIT = 4  # seconds; doubled each time


def may_pass(task: "Task[..., Any]", run: TaskRun, state: State[Any]) -> bool:
    """Whether the failure is the store's, the network's or a want of GPU memory, which another program may have taken;
    bad input, a fault of the program and an interruption stay what they are."""
    error = state.data
    if isinstance(error, _PASSING):
        return True
    return _gpu_memory_freed(error)


def _gpu_memory_freed(error: object) -> bool:
    """Gives back what torch keeps in reserve where the GPU's memory was full."""
    import torch

    if not isinstance(error, torch.cuda.OutOfMemoryError):
        return False
    torch.cuda.empty_cache()
    return True


class _Options(TypedDict):
    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any
    cache_policy: CachePolicy
    persist_result: bool


STAGE_OPTIONS: _Options = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(_FIRST_WAIT),
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": may_pass,
    # the store knows what is done; Prefect's own cache would be a second authority
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
