"""``ovseg3r cluster``: what a small team needs, on this machine: server, worker, limits, pool, deployments, trigger."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.cluster_database import check_database
from flows.cluster_processes import (
    answers,
    check_port,
    cluster_environment,
    environment,
    start_server,
    start_worker,
    stop,
    wait_for_server,
    wait_for_worker,
    worker_command,
    worker_name,
)
from flows.cluster_settings import ClusterSettings, checked_settings
from flows.cluster_state import ClusterState, locked, processes_of, read_state, write_state
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import merged
from storage.store import Store

ENV_FILE = "env.sh"


@dataclass(frozen=True)
class ClusterReport:
    """What a command found or did. address: of the UI. running: by "server" and "worker". processes: how many run,
    those of flow runs among them. commands: to try, in a shell."""

    folder: str
    store: str
    address: str
    running: dict[str, bool]
    processes: int
    changed: bool
    commands: tuple[str, ...]

    @property
    def up(self) -> bool:
        return all(self.running.values())


def up(folder: Path, given: Mapping[str, Any], database: str | None) -> ClusterReport:
    """Starts what does not run of the cluster of this folder, and waits until all is well. given: settings, over those
    of the last time. database: its URL, where it is not the folder's own.

    Raises:
        InputError: a setting is not usable, the port is taken, the database cannot be reached, or a process does not
            start.
    """
    folder = folder.expanduser().absolute()
    with locked(folder):
        before = read_state(folder)
        settings = _settled(before, given, database)
        if before is not None and before.alive("server") and before.alive("worker"):
            return report(folder, before, changed=False)
        state = ClusterState(settings) if before is None else replace(before, settings=settings)
        if not state.alive("server"):
            check_port(settings)
            if database is not None:
                check_database(database)
        _talk_to(state, folder)
        return _started(state, folder, database)


def down(folder: Path) -> int:
    """Ends all processes of the cluster of this folder, flow runs too; how many there were. Its database stays.

    Raises:
        InputError: there was never a cluster, or another command is at work on it.
    """
    folder = folder.expanduser().absolute()
    state = _known(folder)
    with locked(folder):
        running = len(processes_of(state.token))
        stop(state)
        write_state(folder, replace(state, processes={}))
    return running


def status(folder: Path) -> ClusterReport:
    """What runs of the cluster of this folder.

    Raises:
        InputError: there was never a cluster.
    """
    folder = folder.expanduser().absolute()
    return report(folder, _known(folder), changed=False)


def stay(folder: Path) -> None:
    """Returns when a process of the cluster has ended, or at SIGTERM; Ctrl-C raises KeyboardInterrupt."""
    state = _known(folder.expanduser().absolute())
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        while not asked and state.alive("server") and state.alive("worker"):
            time.sleep(0.5)
    finally:
        signal.signal(signal.SIGTERM, before)


def deploy(given: Mapping[str, Any]) -> ClusterSettings:
    """Tells the server that PREFECT_API_URL names all that ``up`` tells its own: pool, queues, this host's limits,
    deployments, trigger.

    Raises:
        InputError: no server is named, or it does not answer, or a setting is not usable.
    """
    api = _named_server()
    settings = _with_store(given)
    os.environ.update(environment(api))
    from flows.cluster_deployments import check_cron, register

    if settings.every is not None:
        check_cron(settings.every)
    register(settings)
    return settings


def limits(gpu_slots: int) -> str:
    """Makes this host's limits on the server that PREFECT_API_URL names; the limit's name.

    Raises:
        InputError: no server is named, or it does not answer.
    """
    os.environ.update(environment(_named_server()))
    from tasks.limits import create_limits

    return create_limits(gpu_slots)


def become_worker(queues: tuple[str, ...], limit: int, name: str, gpu_slots: int | None) -> None:
    """Turns this process into a worker of the server that PREFECT_API_URL names, once the host has its limits. Does not
    return.

    Raises:
        InputError: no server is named, or it does not answer.
    """
    env = environment(_named_server())
    os.environ.update(env)
    from flows.cluster_deployments import limited

    if gpu_slots is not None or not limited():
        limits(gpu_slots or 1)
    sys.stdout.flush()
    os.execve(sys.executable, worker_command(queues, limit, name), env)  # noqa: S606 - our own command


def report(folder: Path, state: ClusterState, changed: bool) -> ClusterReport:
    settings = state.settings
    running = {name: state.alive(name) for name in ("server", "worker")}
    running["server"] = running["server"] and answers(settings.api)
    return ClusterReport(
        folder=str(folder),
        store=settings.store,
        address=settings.api.removesuffix("/api"),
        running=running,
        processes=len(processes_of(state.token)),
        changed=changed,
        commands=(
            f". {shlex.quote(str(folder / ENV_FILE))}",
            "prefect deployment run generate-labels/generate-labels --params "
            f"""'{{"parameters": {{"sources": ["/path/to/recordings/*"], "store": "{settings.store}"}}}}'""",
            "prefect deployment run train/train --param at_least=0",
        ),
    )


def _started(state: ClusterState, folder: Path, database: str | None) -> ClusterReport:
    """Starts what is missing; where nothing ran before and it does not get well, nothing is left running."""
    ran = state.alive("server") or state.alive("worker")
    try:
        if not state.alive("server"):
            state = start_server(state, folder, database)
            write_state(folder, state)
        from flows.cluster_deployments import register, worker_online

        wait_for_server(state)
        register(state.settings)
        if not state.alive("worker"):
            state = start_worker(state, folder)
            write_state(folder, state)
        wait_for_worker(state, lambda: worker_online(worker_name(state)))
    except BaseException:
        if not ran:
            stop(state)
        raise
    _write_environment(folder, state)
    return report(folder, state, changed=True)


def _settled(before: ClusterState | None, given: Mapping[str, Any], database: str | None) -> ClusterSettings:
    """The settings of the last time, with what is given over them, checked as far as is possible without a server."""
    old = {} if before is None else before.settings.model_dump(mode="json", exclude_unset=True)
    if before is not None and before.settings.postgresql and database is None and not before.alive("server"):
        raise InputError(
            "This cluster's database is PostgreSQL, whose URL is not kept; give --database again, or OVSEG3R_DATABASE."
        )
    values = merged(old, given) | ({"postgresql": True} if database is not None else {})
    settings = _with_store(values)
    if before is not None and (before.alive("server") or before.alive("worker")):
        kept = ("host", "port", "store", "postgresql")
        changed = [name for name in kept if getattr(settings, name) != getattr(before.settings, name)]
        if changed:
            raise InputError(
                f"The cluster runs with another --{changed[0].replace('postgresql', 'database')}; end it first, by "
                "`ovseg3r cluster down`."
            )
    return settings


def _with_store(given: Mapping[str, Any]) -> ClusterSettings:
    """The settings, and the store made sure of."""
    from flows.settings import default_store

    store = Store.open(given.get("store") or default_store())
    store.check_writable()
    return checked_settings({**given, "store": store.url})


def _talk_to(state: ClusterState, folder: Path) -> None:
    """From now on Prefect, which reads its settings when it is imported, talks to the cluster's server."""
    os.environ.update(cluster_environment(state, folder))
    if state.settings.every is not None:
        from flows.cluster_deployments import check_cron

        check_cron(state.settings.every)


def _named_server() -> str:
    api = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not api:
        raise InputError("No server is named; set PREFECT_API_URL, as `ovseg3r cluster up` prints it on its machine.")
    if not answers(api):
        raise InputError(f"{api}: no Prefect server answers there; check PREFECT_API_URL, and that the server runs.")
    return api


def _known(folder: Path) -> ClusterState:
    state = read_state(folder)
    if state is None:
        raise InputError(f"{folder}: there was never a cluster here; start one with `ovseg3r cluster up --folder`.")
    return state


def _write_environment(folder: Path, state: ClusterState) -> None:
    """A file to source in a shell, from which the deployments are then run."""
    lines = [
        f"export PREFECT_API_URL={shlex.quote(state.settings.api)}",
        f"export OVSEG3R_STORE={shlex.quote(state.settings.store)}",
        "export NO_PROXY=127.0.0.1${NO_PROXY:+,$NO_PROXY}",
    ]
    (folder / ENV_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
