"""What ``ovseg3r cluster up`` remembers in its folder: its settings, and which processes are its own.

    cluster.json   the settings, a random token, and pid and start time of server and worker; nothing secret
    lock           held while a command changes the cluster
    prefect/       Prefect's folder: the database, where it is SQLite, and the profile
    server.log, worker.log

Every process of a cluster, also a flow run's, has the token in its environment. So an ended process whose number
another has taken is told from it, and one that a killed worker left behind is found.
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from flows.cluster_settings import ClusterSettings
from flows.settings import validated
from ovseg3r_model.errors import InputError

TOKEN = "OVSEG3R_CLUSTER"  # noqa: S105 - the name of a variable, which marks a process
_STATE = "cluster.json"
_SAME_START = 2.0  # seconds by which two readings of one process's start may differ


@dataclass(frozen=True)
class Process:
    """One process that was started. started: seconds since the epoch, as the system says. log: its file."""

    pid: int
    started: float
    log: str

    def alive(self, token: str) -> bool:
        """Whether it runs still, and is no other that has its number now."""
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started) < _SAME_START
            return same and found.status() != psutil.STATUS_ZOMBIE and _token(found) == token
        return False


@dataclass(frozen=True)
class ClusterState:
    """A cluster of this machine, as its folder tells. processes: by "server" and "worker"."""

    settings: ClusterSettings
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    processes: dict[str, Process] = field(default_factory=dict)

    def alive(self, name: str) -> bool:
        """Whether that process runs."""
        return name in self.processes and self.processes[name].alive(self.token)

    def started(self, name: str, pid: int, log: Path) -> "ClusterState":
        """The state with that process, which has just been started."""
        process = Process(pid, psutil.Process(pid).create_time(), str(log))
        return replace(self, processes=self.processes | {name: process})


def read_state(folder: Path) -> ClusterState | None:
    """What the folder tells; None where no cluster was ever started.

    Raises:
        InputError: the file cannot be read.
    """
    path = folder / _STATE
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        processes = {name: Process(**process) for name, process in values["processes"].items()}
        return ClusterState(validated(ClusterSettings, values["settings"]), values["token"], processes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no cluster's state ({error}); name another --folder, or remove it.") from error


def write_state(folder: Path, state: ClusterState) -> None:
    """Keeps the state, whole or not at all, for the eyes of the user alone."""
    values = {
        "settings": state.settings.model_dump(mode="json"),
        "token": state.token,
        "processes": {name: asdict(process) for name, process in state.processes.items()},
    }
    temporary = folder / f"{_STATE}.{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
    temporary.replace(folder / _STATE)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other command changes the cluster of this folder, which is made where it is missing.

    Raises:
        InputError: the folder cannot be written, or another command is at work.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); name another --folder.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another `ovseg3r cluster` command is at work here; wait for it.") from error
        yield


def processes_of(token: str) -> list[psutil.Process]:
    """Every running process of a cluster, whoever its parent is now; not this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and _token(process) == token:
                found.append(process)
    return found


def _token(process: psutil.Process) -> str | None:
    """The mark of a process; None for one of another user, whose environment cannot be read."""
    with contextlib.suppress(psutil.Error, OSError):
        token: str | None = process.environ().get(TOKEN)
        return token
    return None
