"""What scenes run on: threads or processes of this machine, Dask, Ray. Only references travel; every worker talks to
the Prefect server of the flow run.
"""

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.settings import LabelParameters, Runner
from ovseg3r_model.errors import InputError

if TYPE_CHECKING:
    from prefect import Task
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from flows.retry_settings import RetryParameters

_PACKAGES = {"dask": "prefect_dask", "ray": "prefect_ray"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else tasks that reserve no GPU see none
}
_RAY_MEMORY = 100 * 1024**2  # bytes of Ray's object store: only references lie there
_LOG_LEVEL = "OVSEG3R_LOG_LEVEL"
_INTERRUPTED = 130
_MOST_DEATHS = 2  # of workers over one scene


def check_runner(parameters: "LabelParameters | RetryParameters") -> None:
    """Whether what the scenes are to run on can be used; imports nothing heavy.

    Raises:
        InputError: a package is missing, or the parameters do not go together.
    """
    runner, address = parameters.runner, parameters.runner_address
    package = _PACKAGES.get(runner)
    if package is not None and find_spec(package) is None:
        raise InputError(f"The task runner {runner} needs a package: pip install 'ovseg3r[{runner}]'.")
    if address is not None and package is None:
        raise InputError(f"{address}: only the task runners dask and ray have an address, not {runner}; leave it out.")
    if runner != "threads" and parameters.store.startswith("memory:"):
        raise InputError(f"{parameters.store}: only threads share a store in memory; name a folder or a URL.")
    if address is not None and not _is_here(address) and not os.environ.get("PREFECT_API_URL"):
        raise InputError(
            f"{address}: workers on other machines need a Prefect server that they reach; name it in PREFECT_API_URL."
        )


@dataclass(frozen=True)
class Lost:
    """Instead of a task's result: its worker died, or the task itself broke. message: why."""

    message: str


@dataclass
class _Call:
    number: int
    parameters: dict[str, Any]
    deaths: int = 0


@dataclass
class _Line:
    """Calls to come, those running by task run, those to repeat, and the futures as they end. made: calls so far."""

    fresh: Iterator[dict[str, Any] | float]
    made: int = 0
    running: "dict[Any, tuple[PrefectFuture[Any], _Call]]" = field(default_factory=dict)
    broken: deque[_Call] = field(default_factory=deque)
    ended: "SimpleQueue[PrefectFuture[Any]]" = field(default_factory=SimpleQueue)


class SceneRunner:
    """Runs a task over many scenes, ``workers`` at a time. Made by :func:`scene_runner`."""

    def __init__(self, runner: "TaskRunner[Any]", workers: int) -> None:
        self._runner, self._workers = runner, workers

    def each(self, task: "Task[..., Any]", calls: Iterable[dict[str, Any] | float]) -> Iterator[tuple[int, Any]]:
        """(number of the call, the task's result or :class:`Lost`) of each, as they end.

        calls: the task's parameters, by name; taken one by one, as workers get free. A number instead: there is none
        now, and after so many seconds, or the end of another, it is asked again. A call whose worker process died is
        made again, alone, so that what kills workers takes no other call with it; at the second death it is lost.
        """
        from concurrent.futures import BrokenExecutor

        line = _Line(iter(calls))
        while True:
            pause = self._submit(task, line)
            if not line.running and pause is None:
                return
            try:
                future = line.ended.get(timeout=pause)
            except Empty:
                continue
            _, call = line.running.pop(future.task_run_id)
            try:
                result = future.result()
            except BrokenExecutor as error:
                call.deaths += 1
                if call.deaths < _MOST_DEATHS:
                    line.broken.append(call)
                    continue
                result = Lost(f"the worker process died twice over this scene ({error})")
                self._restart()
            except Exception as error:
                result = Lost(f"{type(error).__name__}: {error}")
            yield call.number, result

    def _submit(self, task: "Task[..., Any]", line: _Line) -> float | None:
        """Fills the free places; where a pool of processes broke, waits for its remains and goes on in a new one. How
        many seconds to wait until there may be more calls, where there is none now."""
        if line.broken:
            if not line.running:
                self._restart()
                self._start(task, line, line.broken.popleft())
            return None
        while len(line.running) < self._workers and (call := next(line.fresh, None)) is not None:
            if not isinstance(call, dict):
                return call
            self._start(task, line, _Call(line.made, call))
            line.made += 1
        return None

    def _start(self, task: "Task[..., Any]", line: _Line, call: _Call) -> None:
        future = self._runner.submit(task, call.parameters)
        line.running[future.task_run_id] = (future, call)
        future.add_done_callback(line.ended.put)

    def _restart(self) -> None:
        self._runner.__exit__(None, None, None)
        self._runner.__enter__()


@contextmanager
def scene_runner(workers: int, runner: Runner = "threads", address: str | None = None) -> Iterator[SceneRunner]:
    """What scenes run on, while inside; to be entered in the flow.

    workers: scenes at the same time; each worker process that is started here takes its share of the cores. address: of
    a running Dask scheduler or Ray head; else one is started here.
    """
    with _environment(workers), _opened(workers, runner, address) as opened:
        try:
            yield SceneRunner(opened, workers)
        except BaseException:
            _interrupt_workers()
            raise


@contextmanager
def _opened(workers: int, runner: Runner, address: str | None) -> "Iterator[TaskRunner[Any]]":
    if runner == "threads":
        from prefect.task_runners import ThreadPoolTaskRunner

        opened: Any = ThreadPoolTaskRunner(max_workers=workers)
    elif runner == "processes":
        from prefect.task_runners import ProcessPoolTaskRunner

        opened = ProcessPoolTaskRunner(max_workers=workers, initializer=_start_process)
    elif runner == "dask":
        opened = _dask(workers, address)
    else:
        opened = _ray(workers, address)
    with opened:
        yield opened


def _dask(workers: int, address: str | None) -> Any:
    from prefect_dask import DaskTaskRunner

    if address is not None:
        return DaskTaskRunner(address=address)
    here = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.ERROR,
        "preload": ["flows.runners"],  # calls dask_setup
    }
    return DaskTaskRunner(cluster_kwargs=here)


def _ray(workers: int, address: str | None) -> Any:
    from prefect_ray import RayTaskRunner

    passed = ("PREFECT_API_URL", _LOG_LEVEL)
    settings: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "runtime_env": {
            "env_vars": {name: os.environ[name] for name in passed if name in os.environ},
            "worker_process_setup_hook": "flows.runners.log_to_stderr",
        },
    }
    if address is None:
        settings |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _RAY_MEMORY}
    return RayTaskRunner(address, settings)


@contextmanager
def _environment(workers: int) -> Iterator[None]:
    """Inside, processes that are started take their share of the cores and log as this one does; what the user set
    stays."""
    share = str(max((os.cpu_count() or 1) // workers, 1))
    wanted = {**dict.fromkeys(_THREADS, share), **_RAY, _LOG_LEVEL: str(_shown_level())}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _shown_level() -> int:
    """From which level on this process shows the log. Bars show this process' progress alone, so that beside them the
    workers tell theirs in lines."""
    from tasks.progress import listened

    logger = logging.getLogger("ovseg3r")
    shown = max(logger.getEffectiveLevel(), *(handler.level for handler in logger.handlers[:1]), 0)
    return logging.INFO if listened() else shown


def log_to_stderr() -> None:
    """In a worker process: logs as the flow's process does, which passes on or shares this one's standard error."""
    logger = logging.getLogger("ovseg3r")
    logger.setLevel(int(os.environ.get(_LOG_LEVEL, logging.WARNING)))
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.propagate = False


def dask_setup(worker: object) -> None:
    """Called by Dask in each process that it starts."""
    log_to_stderr()


def _start_process() -> None:
    """In a process of the pool, which ends with its parent and, quietly, when interrupted. What is under way is lost no
    more than by ``kill -9``: not at all."""
    log_to_stderr()
    signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(_INTERRUPTED)


def _interrupt_workers() -> None:
    """Ends the processes of a pool, which else finish their scenes first."""
    import multiprocessing

    for child in multiprocessing.active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGINT)


def _is_here(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"//{address}").hostname
    return address in ("auto", "local") or host in ("localhost", "127.0.0.1", "::1")
