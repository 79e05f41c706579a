"""How far a run is: stages announce, whoever shows it listens. Without a listener every tenth part goes to the log."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

logger = logging.getLogger("ovseg3r.progress")


@dataclass(frozen=True)
class Progress:
    """done of total steps of a stage; ``reused`` when the stage's output was already there: nothing had to be done."""

    scene_id: str
    stage: str
    done: int
    total: int
    reused: bool = False


Listener = Callable[[Progress], None]
_scene: ContextVar[str] = ContextVar("scene", default="")
_listeners: list[Listener] = []
_stopping = threading.Event()


@contextmanager
def of_scene(scene_id: str) -> Iterator[None]:
    """What is announced inside belongs to this scene."""
    token = _scene.set(scene_id)
    try:
        yield
    finally:
        _scene.reset(token)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Sends all progress of this process to ``listener`` (from any thread) instead of to the log."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def listened() -> bool:
    """Whether somebody listens in this process."""
    return bool(_listeners)


def stop() -> None:
    """Makes the stages of this process end at their next step, in whatever thread they run; there is no way back."""
    _stopping.set()


def check_stop() -> None:
    """Raises KeyboardInterrupt once ``stop`` was called."""
    if _stopping.is_set():
        raise KeyboardInterrupt


def announce(stage: str, done: int, total: int, reused: bool = False) -> None:
    """Tells the listeners, else the log. Raises KeyboardInterrupt once ``stop`` was called."""
    check_stop()
    event = Progress(_scene.get(), stage, done, total, reused)
    for listener in _listeners:
        listener(event)
    if not _listeners and (done == total or done % max(total // 10, 1) == 0):
        logger.info("%s: %s %s", event.scene_id, stage, "reused" if reused else f"{done}/{total}")
