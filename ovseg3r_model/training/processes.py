"""A training by several processes of one machine in step with each other, one GPU each; on a CPU with gloo.

The caller's process starts them (torch's launcher), asks all of them for the same and waits for the answers, but takes
no part itself: so it can end the others and say why, when one dies or a library ends it.
"""

import copy
import gc
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import Pipe, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar

import torch
from torch.multiprocessing.spawn import ProcessException, start_processes

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.protocol import torch_device

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for another that lives: as long as one may read scenes that another has already."""
_GRACE = 30.0


class Alone(Generic[T]):
    """One process: this one."""

    def __init__(self, held: T) -> None:
        self._held = held

    def all(self, do: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """What ``do`` gives."""
        return [do(self._held, *args, **kwargs)]

    def first(self, do: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same."""
        return do(self._held, *args, **kwargs)


class Together(Generic[T]):
    """Several processes, each with what ``make`` gave there. What is asked for, is given and comes back is pickled on
    its way: no tensors, which would go through shared memory for good."""

    def __init__(self, make: Callable[[], T], processes: int, cuda: bool, folder: Path) -> None:
        """folder: an empty one, which they find each other in."""
        self._links, ends = zip(*(Pipe() for _ in range(processes)), strict=True)
        group = _Group(folder / "group", processes, cuda, max(1, torch.get_num_threads() // processes))
        self._context: Any = start_processes(  # type: ignore[no-untyped-call]
            _serve, (group, make, ends), processes, join=False, start_method="spawn"
        )
        for end in ends:
            end.close()

    def all(self, do: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """What ``do`` gives in each process. An error in one, or its death, is raised here; the others then wait for
        it, and are to be ended."""
        return self._ask(self._links, (do, args, kwargs))

    def first(self, do: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``do`` gives in the first process; nothing that the others have to take part in."""
        answers: list[R] = self._ask(self._links[:1], (do, args, kwargs))
        return answers[0]

    def end(self, at_once: bool) -> None:
        """Ends the processes, whatever they are doing if it is to be at once."""
        if not at_once:
            for link in self._links:
                with suppress(BrokenPipeError):
                    link.send(None)
            for link in self._links:
                link.poll(_GRACE)  # until it hangs up; that Python ends takes seconds more, of which nothing comes
        for process in self._context.processes:
            process.terminate()
        for process in self._context.processes:
            process.join(_GRACE)
            process.kill()
            process.join()
        for link in self._links:
            link.close()

    def begin(self) -> None:
        """Waits until all have what ``make`` gives."""
        self._answers(self._links)

    def _ask(self, links: Sequence[Connection], question: Any) -> list[Any]:
        for link in links:
            with suppress(BrokenPipeError):  # a dead one is told of below
                link.send(question)
        return self._answers(links)

    def _answers(self, links: Sequence[Connection]) -> list[Any]:
        answers: dict[Any, Any] = {}
        while len(answers) < len(links):
            for ready in wait([*(link for link in links if link not in answers), *self._context.sentinels]):
                if not isinstance(ready, Connection):
                    self._tell_who_died()
                try:
                    answers[ready], error = ready.recv()
                except (EOFError, ConnectionResetError):
                    self._tell_who_died()
                if error is not None:
                    if wait(list(self._context.sentinels), timeout=1):  # then this one only lost its connection
                        self._tell_who_died()
                    raise error
        return [answers[link] for link in links]

    def _tell_who_died(self) -> NoReturn:
        told: Exception | None = None
        try:
            self._context.join(timeout=_GRACE)
        except ProcessException as error:
            told = error
        raise RuntimeError(
            f"One of the {len(self._links)} processes that train together died ({told or 'without a word'}). The same "
            "command goes on from the last checkpoint."
        ) from told


@contextmanager
def team(make: Callable[[], T], processes: int, device: str) -> Iterator[Alone[T] | Together[T]]:
    """What ``make`` gives, in this process if it is one, else in each of so many; they are ended at the end.

    Args:
        make: a function that can be sent to another process.
        device: auto, cpu, cuda; cuda takes the first GPUs.

    Raises:
        InputError: the machine has fewer GPUs, or the device is one of several.
    """
    if processes == 1:
        yield Alone(make())
        return
    chosen = torch.device(torch_device(device))
    if chosen.type == "cuda" and (chosen.index is not None or torch.cuda.device_count() < processes):
        raise InputError(
            f"{processes} processes need a GPU each, and this machine has {torch.cuda.device_count()}; take fewer "
            "--processes, and a --device without a number."
        )
    with tempfile.TemporaryDirectory(prefix="ovseg3r-training-") as folder:
        started: Together[T] = Together(make, processes, chosen.type == "cuda", Path(folder))
        try:
            started.begin()
            yield started
        except Exception:
            started.end(at_once=True)  # one that waits for another would not hear
            raise
        except BaseException:
            started.end(at_once=False)
            raise
        started.end(at_once=False)


@dataclass(frozen=True)
class _Group:
    """file: where the processes find each other. threads: of torch in each."""

    file: Path
    processes: int
    cuda: bool
    threads: int

    def join(self, number: int) -> None:
        """Makes this process the one of that number, for torch and for accelerate."""
        values = {
            "RANK": number,
            "LOCAL_RANK": number,
            "WORLD_SIZE": self.processes,
            "LOCAL_WORLD_SIZE": self.processes,
        }
        os.environ |= {name: str(value) for name, value in values.items()} | {"OMP_NUM_THREADS": str(self.threads)}
        if sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it asks for the address of the machine's name
        torch.set_num_threads(self.threads)
        if self.cuda:
            torch.cuda.set_device(number)
        torch.distributed.init_process_group(
            "nccl" if self.cuda else "gloo",
            init_method=self.file.as_uri(),
            rank=number,
            world_size=self.processes,
            timeout=TIMEOUT,
        )


def _serve(number: int, group: _Group, make: Callable[[], Any], ends: Sequence[Connection]) -> None:
    """A process of the team: does what it is asked until it is asked for nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the caller decides
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    link = ends[number]
    for other in ends:
        if other is not link:
            other.close()  # else nobody would notice that its process died
    held: list[Any] = []

    def start() -> None:
        group.join(number)
        held.append(make())

    _answer(link, start)
    while (question := link.recv()) is not None:
        do, args, kwargs = question
        _answer(link, partial(do, *held, *args, **kwargs))
        del question, do, args, kwargs
    held.clear()  # ends the processes that it started
    gc.collect()
    torch.distributed.destroy_process_group()
    link.close()


def _answer(link: Connection, work: Callable[[], Any]) -> None:
    """What the work gives, and None; or None and why it failed."""
    try:
        answer: tuple[Any, Exception | None] = work(), None
    except Exception as error:  # of any kind: it is the caller's
        answer = None, _portable(error)
    link.send(answer)


def _end_with_the_caller() -> None:
    """However the caller ended, and whatever this process waits for."""
    caller = parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error, with where it came from as a note; one that cannot be sent is told by another."""
    try:
        sent = copy.copy(error)  # made anew from its arguments, as on the other side
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.__notes__ = ["".join(traceback.format_exception(error))]
    return sent
