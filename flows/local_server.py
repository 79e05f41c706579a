"""A Prefect server for one run, where none is named: started quickly, alone, and never left behind.

Prefect's own temporary server outlives a killed client; this one hangs on a pipe to its parent and ends with it,
however that ends. Each run has a database of its own, copied from one that was migrated once, so that runs do not wait
for each other's locks.
"""

import contextlib
import gc
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLI_PROMPT": "false",
}
# Nobody will look at the private server: what is only to be looked at is not sent (``tasks.server.named_server``).
_UNSEEN = {"OVSEG3R_PRIVATE_SERVER": "1", "PREFECT_LOGGING_TO_API_ENABLED": "false"}
# Of this process only, not of the server: what fails is told by the flow itself, without Prefect's tracebacks.
_SILENT = ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
_START_SECONDS = 180
# What Prefect imports in a run's first steps.
_LATE = ("prefect.flow_engine", "prefect.task_engine", "fastapi.encoders")
IDLE_SERVICES = (
    "CANCELLATION_CLEANUP", "DB_VACUUM", "EVENT_PERSISTER", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER",
    "TASK_RUN_RECORDER", "TRIGGERS",
)  # fmt: skip
# Of the private server only, where the user sets nothing else. What it would do for a UI and for deployments is left;
# registering Prefect's blocks alone takes as long as half of its other start.
_BARE = {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES},
}


def server_is_named() -> bool:
    """Whether runs are to be told to a server that people look at. To be asked outside of :func:`prefect_server`."""
    return bool(os.environ.get("PREFECT_API_URL"))


@contextlib.contextmanager
def prefect_server(module: str = "prefect") -> Iterator[None]:
    """Inside, flows of this process have a server: the one that PREFECT_API_URL names, else a private one.

    To be entered before prefect is imported, as prefect reads its settings then. module: is imported, while the private
    server starts if there is to be one, which takes about as long.

    Raises:
        RuntimeError: the private server does not start; its log is in the message.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # the private server is here, whatever proxy leads outside
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
    if server_is_named():
        os.environ.setdefault(*_SILENT)
        _import(module)
        yield
        return
    os.environ.update(_UNSEEN)

    def meanwhile(url: str, home: str) -> None:
        os.environ.setdefault(*_SILENT)
        os.environ.update(PREFECT_API_URL=url, PREFECT_HOME=home)
        _import(module)

    try:
        with private_server(meanwhile), without_heartbeat():
            yield
    finally:
        for name in ("PREFECT_API_URL", *_UNSEEN):
            os.environ.pop(name, None)


@contextlib.contextmanager
def private_server(meanwhile: Callable[[str, str], None] | None = None, **more: str) -> Iterator[str]:
    """A server of its own for who is inside; its API's address. meanwhile: called while it starts, with address and
    PREFECT_HOME. more: variables of its environment.

    Raises:
        RuntimeError: it does not start; its log is in the message.
    """
    template = template_database()
    with tempfile.TemporaryDirectory(prefix="ovseg3r-prefect-", ignore_cleanup_errors=True) as home:
        database = Path(home) / "prefect.db"
        known = template.is_file()
        if known:
            shutil.copyfile(template, database)
        log = Path(home) / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as sink:
            server = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "flows.local_server", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=[listener.fileno()],
                env={
                    **_BARE,
                    **os.environ,
                    **more,
                    "PREFECT_HOME": home,
                    "PREFECT_API_DATABASE_MIGRATE_ON_START": str(not known).lower(),
                },
                start_new_session=True,  # Ctrl-C is for us: stages still have to tell how they ended
            )
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        timer = threading.Timer(_START_SECONDS, server.kill)
        timer.start()
        try:
            if meanwhile is not None:
                meanwhile(url, home)
            _wait(server, log)
            timer.cancel()
            if not known:
                _keep_template(database, template)
            yield url
        finally:
            timer.cancel()
            server.kill()
            server.communicate()


@contextlib.contextmanager
def without_heartbeat() -> Iterator[None]:
    """Inside, runs send none where nobody would listen: a run with one sleeps for up to a second at its end."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _wait(server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits until the server is ready."""
    assert server.stdout is not None  # noqa: S101 - it is a pipe
    if not server.stdout.readline():
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(
            f"The private Prefect server did not start; name a running one in PREFECT_API_URL. Its log ends:\n{tail}"
        )


def _import(module: str) -> None:
    with _without_collection():
        importlib.import_module(module)
        for name in _LATE:
            with contextlib.suppress(ModuleNotFoundError):  # a later Prefect may call it otherwise
                importlib.import_module(name)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Inside, no garbage is collected, and what is there at the end never: importing leaves hardly any, and looking for
    it takes a fifth of the time, then and at each collection to come.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def template_database() -> Path:
    """Where the migrated, empty database of this version of Prefect is kept, once a server has made it."""
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else Path.home() / ".cache") / "ovseg3r"
    return cache / f"prefect-{version('prefect')}.db"


def _keep_template(database: Path, template: Path) -> None:
    """Keeps the freshly migrated, still empty database for the next run; without a cache folder the next run migrates
    again.
    """
    import sqlite3

    with contextlib.suppress(OSError, sqlite3.Error):
        template.parent.mkdir(parents=True, exist_ok=True)
        temporary = template.with_suffix(f".{os.getpid()}")
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)
        temporary.replace(template)


def _serve(descriptor: int) -> None:
    """The server process: ends when its parent does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _without_collection():
        import uvicorn
        from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stdout.write("ready\n")
            sys.stdout.flush()

    config = uvicorn.Config(create_app(ephemeral=True), log_level="error", lifespan="on")
    Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the parent's end of the pipe is closed
    shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)  # a killed parent could not
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
