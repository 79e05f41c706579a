"""A list of scenes that any number of processes work through at once: what is with another worker is set aside, and
looked at again at the end.

Which scene is whose is told by the claims in the store (``storage.claims``); the task takes the claim, here they are
only watched: one listing a second at most, whatever the number of scenes.
"""

import logging
import os
import socket
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.runners import Lost, SceneRunner
from flows.scenes import SceneResult
from ovseg3r_model.errors import InputError
from storage.claims import Claims
from storage.store import Store
from tasks.progress import check_stop

if TYPE_CHECKING:
    from prefect import Task

logger = logging.getLogger("ovseg3r.flow")

_LOOK = 1.0  # seconds between two looks at the claims, at least
_LOOKS = 6  # in a lifetime of a claim, at least, however long nothing has changed


@dataclass(frozen=True)
class Job:
    """A scene to work on. call: the parameters of its task, by name; ``silent`` is added to them."""

    source: str
    scene_id: str
    call: dict[str, Any]


class Knowledge:
    """What is known of scenes beside their tasks: nothing, unless a flow knows better."""

    def settled(self, job: Job, was_elsewhere: bool) -> SceneResult | None:
        """How a scene stands, where no task is needed to tell. was_elsewhere: another worker was seen with it."""
        return None

    def lost(self, job: Job, message: str) -> SceneResult:
        """The result of a scene whose task came to no end of its own."""
        return SceneResult(job.source, job.scene_id, "failed", 0.0, message)


Ended = Callable[[SceneResult], None]


def run_each(
    runner: SceneRunner,
    task: "Task[..., SceneResult]",
    store: Store,
    jobs: Sequence[Job],
    knowledge: Knowledge,
    ended: Ended,
) -> list[SceneResult]:
    """Runs the task for each scene that is not settled; their results, in order. ended: told each as it comes."""
    return _Round(Claims(store), jobs, knowledge, ended).run(runner, task)


class _Round:
    """One process' way through the list."""

    def __init__(self, claims: Claims, jobs: Sequence[Job], knowledge: Knowledge, ended: Ended) -> None:
        self._claims, self._jobs, self._knowledge, self._ended = claims, jobs, knowledge, ended
        self._marks: dict[str, tuple[str, bool]] = {}
        self._looked = float("-inf")
        self._look()
        self._waiting = deque(range(len(jobs)))
        if any(
            is_alive for _, is_alive in self._marks.values()
        ):  # others are at work: not all are to try the same scene next
            self._waiting.rotate(-_own_number(len(jobs)))
        self._started: list[int] = []
        self._elsewhere: set[str] = set()  # scenes that were seen with another worker
        self._results: dict[int, SceneResult] = {}

    def run(self, runner: SceneRunner, task: "Task[..., SceneResult]") -> list[SceneResult]:
        while self._waiting:
            self._started = []
            for number, result in runner.each(task, self._calls()):
                self._note(self._started[number], result)
        return [self._results[number] for number in sorted(self._results)]

    def _note(self, number: int, result: "SceneResult | Lost") -> None:
        job = self._jobs[number]
        if isinstance(result, Lost):
            result = self._knowledge.lost(job, result.message)
        if result.status != "elsewhere":
            self._end(number, result)
            return
        self._elsewhere.add(job.scene_id)
        self._waiting.append(number)
        self._looked = float("-inf")  # what was seen of the claims is no longer so

    def _calls(self) -> Iterator[dict[str, Any] | float]:
        """The calls of scenes that are free; seconds to wait while others have all that is left."""
        pause = _LOOK
        while self._waiting:
            number = self._next()
            if number is not None:
                pause = _LOOK
                self._started.append(number)
                job = self._jobs[number]
                yield job.call | {"silent": self._marks.get(job.scene_id, (None, False))[0]}
            elif self._waiting:
                check_stop()
                yield pause
                pause = min(1.5 * pause, max(self._claims.lifetime / _LOOKS, _LOOK))

    def _next(self) -> int | None:
        """A scene to begin now; those that turn out to be settled get their results."""
        for _ in range(len(self._waiting)):
            self._look()
            number = self._waiting.popleft()
            job = self._jobs[number]
            _, is_alive = self._marks.get(job.scene_id, (None, False))
            if is_alive:
                self._elsewhere.add(job.scene_id)
                self._waiting.append(number)
                continue
            known = self._knowledge.settled(job, job.scene_id in self._elsewhere)
            if known is None:
                return number
            self._end(number, known)
        return None

    def _end(self, number: int, result: SceneResult) -> None:
        self._results[number] = result
        self._ended(result)

    def _look(self) -> None:
        """Looks at the claims, unless that was a moment ago; without contact what was seen last stands."""
        if time.monotonic() - self._looked < _LOOK:
            return
        try:
            self._marks = self._claims.marks()
        except (OSError, InputError) as error:
            logger.warning("other workers' scenes cannot be seen: %s", error)
        self._looked = time.monotonic()


def _own_number(count: int) -> int:
    """One of 0 to count - 1, another in most processes."""
    return zlib.crc32(f"{socket.gethostname()}:{os.getpid()}".encode()) % max(count, 1)
