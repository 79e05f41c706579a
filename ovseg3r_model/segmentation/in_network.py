"""How frames go through a network on whatever device there is: precision, batches, too little memory."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import torch

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import UInt8

logger = logging.getLogger("ovseg3r.segmentation")

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_FRAMES = 64
_SHARE = 0.7  # of the device's memory that a batch may be expected to take
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


Network: TypeAlias = Callable[[Sequence[UInt8]], list[Result]]
"""Takes frames (H,W,3) uint8 of one size and gives what it makes of each."""


@contextmanager
def inference(device: torch.device, precision: str) -> Iterator[None]:
    """Without gradients, in the settings' ``precision``: "auto", "float32" or "bfloat16"."""
    half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        yield


def in_halves(network: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """``network(items)``; what does not fit the memory goes through in two halves, and so on down to single items.

    Raises:
        MemoryError: not even one item fits; an outer call, of frames say, may then try with fewer of its own.
    """
    try:
        return network(items)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
    # out of the except block: the error holds the frames of the stack, and they hold the tensors
    _free()
    if len(items) == 1:
        raise MemoryError(reason)
    middle = len(items) // 2
    return in_halves(network, items[:middle]) + in_halves(network, items[middle:])


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch, on any device, or NumPy ran out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _NO_MEMORY)


class Batches:
    """Sends frames through a network in batches that do not depend on which frames are asked for.

    Frame v is always in the batch of the frames from v // size * size on, so what is computed for it is the same, to
    the last bit, in a run that continues after a kill: there the batch that was in flight goes through again, whole.
    A batch that does not fit the memory is halved, and so are all after it; only what runs out of memory in one run and
    not in the other may then differ in its last bits.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def results(
        self, frame: Callable[[int], UInt8], count: int, views: Sequence[int], network: Network[Result]
    ) -> Iterator[Result]:
        """The network's results for ``views`` in their order, of ``count`` frames that there are; ``frame(v)`` reads
        one."""
        held: dict[int, Result] = {}
        for view in views:
            if view not in held:
                batch = range(view // self._size * self._size, min((view // self._size + 1) * self._size, count))
                logger.debug("frames %d to %d in the network", batch[0], batch[-1])
                held = dict(zip(batch, self._through(network, [frame(v) for v in batch]), strict=True))
            yield held[view]

    def _through(self, network: Network[Result], frames: Sequence[UInt8]) -> list[Result]:
        largest = 0

        def noticed(part: Sequence[UInt8]) -> list[Result]:
            nonlocal largest
            done = network(part)
            largest = max(largest, len(part))
            return done

        try:
            results = in_halves(noticed, frames)
        except MemoryError as error:
            raise InputError(
                f"The memory does not hold the 2D model at work on one frame ({error}): take smaller weights, or "
                "another device."
            ) from error
        if largest < len(frames):
            while self._size > largest:
                self._size = (self._size + 1) // 2
            logger.warning("the memory holds fewer frames than thought: %d at a time from now on", self._size)
        return results


def frames_at_once(
    asked: int | None, device: torch.device, frame: Callable[[], UInt8], network: Network[Result]
) -> int:
    """How many frames to send through at a time: as asked; else 1 on the CPU, where more bring nothing, and on CUDA a
    power of two by what one frame takes there beside the device's size. Other scenes on the device at the same time
    may make it smaller, so a run that continues is to be told what the first one had.
    """
    if asked is not None:
        return asked
    if device.type != "cuda":
        return 1
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        network([frame()])
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return 1  # which the frames themselves will then be told of
        raise
    one = max(torch.cuda.max_memory_allocated(device) - before, 1)
    room = _SHARE * torch.cuda.get_device_properties(device).total_memory - before
    return fitting(room, one)


def fitting(room: float, one: float) -> int:
    """The largest power of two of frames of ``one`` byte count each that ``room`` holds, from 1 to 64."""
    size = 1
    while size < _MOST_FRAMES and 2 * size * one <= room:
        size *= 2
    return size


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
