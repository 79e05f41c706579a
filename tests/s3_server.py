"""An S3 server for tests: moto's as a process of its own on a loopback port, and a proxy before it that can fail as
networks do."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
START_SECONDS = 60
METHODS = {"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"}
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMIexample"  # noqa: S105 - moto takes any


@dataclass(frozen=True)
class S3Server:
    """A running server. port: on 127.0.0.1."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use the server, as for any other S3."""
        return environment(self.port)

    def bucket(self, name: str) -> str:
        """The URL of a bucket, made if absent."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        with urllib.request.urlopen(request):  # noqa: S310 - our own address
            return f"s3://{name}"


def environment(port: int) -> dict[str, str]:
    """Variables that lead to an S3 server at a port of this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server, empty; it ends with the block, or with this process however that ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.s3_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
    )
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            raise RuntimeError("moto's server did not start")
        yield S3Server(int(line))
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


@dataclass
class Proxy:
    """Passes connections on to a port of this machine, and fails on demand. A context manager.

    cutting: while not 0, so many requests that have ``pattern`` in what is sent are passed on, but their answers are
    not: the connection closes instead. delay: seconds that a request is on its way. requests: how many there
    were, by method, S3's listings as LIST; most: how many were open at once.
    """

    target: int
    delay: float = 0.0
    pattern: bytes = field(init=False, default=b"")
    cutting: int = field(init=False, default=0)
    port: int = field(init=False)
    requests: Counter[str] = field(init=False, default_factory=Counter)
    most: int = field(init=False, default=0)
    _open: set[socket.socket] = field(init=False, default_factory=set)
    _waiting: set[socket.socket] = field(init=False, default_factory=set)
    _refusing: bool = field(init=False, default=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.port)

    def refuse(self) -> None:
        """From now on every connection closes; those that are open, now."""
        with self._lock:
            self._refusing = True
            for one in self._open:
                _shut(one)

    def allow(self) -> None:
        """Ends :meth:`refuse`."""
        with self._lock:
            self._refusing = False

    def cut(self, pattern: bytes, count: int = 1) -> None:
        """Loses the answers to the next requests of that pattern."""
        self.pattern, self.cutting = pattern, count

    def forget(self) -> None:
        """Counts requests anew."""
        with self._lock:
            self.requests = Counter()
            self.most = 0

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                refused = self._refusing
                if not refused:
                    server = socket.create_connection(("127.0.0.1", self.target))
                    self._open |= {client, server}
            if refused:
                client.close()
                continue
            for work in (self._forward, self._back):
                threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """From client to server; what begins with a method begins a request."""
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if (method := data.split(b" ", 1)[0].decode("latin-1")) in METHODS:
                    self._begin(client, "LIST" if b"list-type=2" in data.split(b"\r\n", 1)[0] else method)
                    time.sleep(self.delay)
                server.sendall(data)
                if self._cuts(data):
                    server.recv(1 << 16, socket.MSG_PEEK)  # the answer is there: the request was carried out
                    break
        self._end(client, server)

    def _cuts(self, data: bytes) -> bool:
        with self._lock:
            cuts = self.cutting > 0 and self.pattern in data
            self.cutting -= cuts
        return cuts

    def _begin(self, client: socket.socket, kind: str) -> None:
        with self._lock:
            self.requests[kind] += 1
            self._waiting.add(client)
            self.most = max(self.most, len(self._waiting))

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                with self._lock:
                    self._waiting.discard(client)
                client.sendall(data)
        self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        with self._lock:
            for one in sockets:
                self._open.discard(one)
                self._waiting.discard(one)
                _shut(one)
                one.close()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _serve() -> None:
    """The server process: prints its port; ends when its standard input does."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    MotoRequestHandler.protocol_version = "HTTP/1.1"  # connections are kept, as real servers do
    moto, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with one_at_a_time:  # moto's own data are not made for many threads: its conditional puts would not be atomic
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
