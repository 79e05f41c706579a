"""The processes of a cluster on one machine: started detached, waited for, ended."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from flows.cluster_settings import POOL, ClusterSettings
from flows.cluster_state import TOKEN, ClusterState, processes_of
from flows.local_server import template_database
from ovseg3r_model.errors import InputError

START_SECONDS = 300.0
"""A server or worker that has not started after so long will not."""
GRACE_SECONDS = 20.0
"""What is asked to end has so long to do it before it is killed."""
DATABASE = "OVSEG3R_DATABASE"
"""The variable that may name the database, password and all, to ``ovseg3r cluster up``."""

_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
# whoever runs flows needs no way into the database
_NOT_FOR_ALL = {DATABASE, _DATABASE, "PREFECT_API_DATABASE_CONNECTION_URL", "OVSEG3R_PRIVATE_SERVER"}

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # a run whose process died is found by its silence: see ``cluster_deployments.dead_runs``
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "3",
    # slots of the GPU limits that are held when the server ends are given back after its next start
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # a server that is away for some minutes is waited for: 2 + 4 + ... + 256 seconds
    "PREFECT_CLIENT_MAX_RETRIES": "8",
}


def environment(api: str, more: Mapping[str, str] = {}) -> dict[str, str]:
    """The variables for a process that talks to the server at ``api``: those of here, the store's among them, what a
    cluster needs where nothing else is said, and ``more``."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_ALL}
    hosts = ",".join(filter(None, (kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1")))
    # "python", which runs are started by, is this one
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), kept.get("PATH"))))
    always = {"PREFECT_API_URL": api, "NO_PROXY": hosts, "no_proxy": hosts, "PATH": path}
    return _DEFAULTS | kept | always | dict(more)


def cluster_environment(state: ClusterState, folder: Path) -> dict[str, str]:
    """As :func:`environment`, for this machine's own processes."""
    own = {TOKEN: state.token, "PREFECT_HOME": str(folder / "prefect"), "OVSEG3R_STORE": state.settings.store}
    return environment(state.settings.api, own)


def start_server(state: ClusterState, folder: Path, database: str | None) -> ClusterState:
    """Starts the Prefect server. database: the URL of one that is not the folder's own; seen by the server alone."""
    home = folder / "prefect"
    home.mkdir(exist_ok=True)
    own = home / "prefect.db"
    if database is None and not own.exists() and template_database().is_file():
        shutil.copyfile(template_database(), own)  # migrated already, which takes longer than all the rest
    where = database or f"sqlite+aiosqlite:///{own}"
    settings = state.settings
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        settings.host,
        "--port",
        str(settings.port),
    ]
    return _start(state, "server", command, cluster_environment(state, folder) | {_DATABASE: where}, folder)


def start_worker(state: ClusterState, folder: Path) -> ClusterState:
    """Starts the worker, which starts the flow runs."""
    command = worker_command((), state.settings.workers, worker_name(state))
    return _start(state, "worker", command, cluster_environment(state, folder), folder)


def worker_command(queues: tuple[str, ...], limit: int, name: str) -> list[str]:
    """The command of a worker of the pool. queues: those it takes runs of; none are all. limit: runs at once."""
    chosen = [part for queue in queues for part in ("--work-queue", queue)]
    fixed = ["worker", "start", "--pool", POOL, "--type", "process", "--no-create-pool-if-not-found"]
    return [sys.executable, "-m", "prefect", *fixed, "--limit", str(limit), "--name", name, *chosen]


def worker_name(state: ClusterState) -> str:
    """The same after every start, so that the server knows it again."""
    return f"{socket.gethostname()}-{state.token[:6]}"


def wait_for_server(state: ClusterState) -> None:
    """Waits until the server answers.

    Raises:
        InputError: it ended, as with a database that cannot be used, or never answers; its log tells why.
    """
    _wait(state, "server", lambda: answers(state.settings.api))


def wait_for_worker(state: ClusterState, online: Callable[[], bool]) -> None:
    """As :func:`wait_for_server`, until the server knows the worker."""
    _wait(state, "worker", online)


def answers(api: str) -> bool:
    """Whether a Prefect server is there and well."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError, urllib.error.URLError), opener.open(f"{api}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def check_port(settings: ClusterSettings) -> None:
    """Raises InputError where the server cannot listen."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"{settings.host}:{settings.port}: the server cannot listen there ({error.strerror}); name another --port."
        ) from error


def stop(state: ClusterState, grace: float = GRACE_SECONDS) -> None:
    """Ends every process of the cluster: the worker and its runs first, then the server, by force what stays."""
    if state.alive("worker"):
        _signal([psutil.Process(state.processes["worker"].pid)], signal.SIGTERM)
    server = state.processes["server"].pid if state.alive("server") else None
    others = [process for process in processes_of(state.token) if process.pid != server]
    _, left = psutil.wait_procs(others, timeout=grace)
    _signal(left, signal.SIGKILL)
    rest = processes_of(state.token)
    _signal(rest, signal.SIGTERM)
    _, left = psutil.wait_procs(rest, timeout=grace)
    _signal(left, signal.SIGKILL)
    psutil.wait_procs(left, timeout=grace)


def _start(state: ClusterState, name: str, command: list[str], env: dict[str, str], folder: Path) -> ClusterState:
    log = folder / f"{name}.log"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    return state.started(name, process.pid, log)


def _wait(state: ClusterState, name: str, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not ready():
        if not state.alive(name) or time.monotonic() > end:
            raise InputError(
                f"The {name} did not start; {state.processes[name].log} tells why, and the same command tries again."
            )
        time.sleep(0.1)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # raised also where the number is another's by now
            process.send_signal(number)
