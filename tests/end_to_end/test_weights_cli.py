"""`ovseg3r weights` against a hub on this machine that speaks the few addresses a fetch needs."""

import hashlib
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from safetensors.numpy import save

from ovseg3r_model.errors import InputError
from ovseg3r_model.weights import KNOWN, content_digest, find
from ovseg3r_model.weights.local import MANIFEST
from tests.end_to_end.conftest import Cli

MM = next(entry for entry in KNOWN if entry.revision is None)  # what it holds is not known beforehand
SAM = next(entry for entry in KNOWN if entry.name == "sam-vit-base")
SAM3 = next(entry for entry in KNOWN if entry.gated)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = save({"weight": np.arange(100_000, dtype=np.float32)})
FILES = {
    "config.json": b'{"model_type": "mm-grounding-dino"}',
    "preprocessor_config.json": b"{}",
    "tokenizer.json": b"{}",
    "vocab.txt": b"chair\nmug\n",
    "model.safetensors": WEIGHTS,
}
OTHERS = {"README.md": b"# read me", "pytorch_model.bin": b"pickle", "model.py": b"print()", "onnx/model.onnx": b"onnx"}


@dataclass
class Hub:
    """Repositories by id: their newest commit and their files. asked: every request. refuse: a repository, and the code
    and name of the error that its files are refused with. served: instead of a file's content. hold: weights stop half
    way until it is set.
    """

    repositories: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)
    hold: threading.Event | None = None
    address: str = ""

    def loaded(self) -> list[str]:
        """The files that were asked for, without asking about them."""
        return [Path(request).name for request in self.asked if request.startswith("GET") and "/resolve/" in request]


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            self._describe("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        else:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)

    def _describe(self, repository: str, revision: str) -> None:
        if repository not in self.hub.repositories:
            return self._refuse(404, "RepoNotFound")
        commit, files = self.hub.repositories[repository]
        if revision not in ("main", commit):
            return self._refuse(404, "RevisionNotFound")
        siblings = [{"rfilename": name, "size": len(data), "blobId": "0" * 40} for name, data in files.items()]
        for each, data in zip(siblings, files.values(), strict=True):
            if _large(str(each["rfilename"])):
                each["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return self._send(json.dumps({"id": repository, "sha": commit, "siblings": siblings}).encode(), {}, True)

    def _file(self, repository: str, revision: str, name: str, body: bool) -> None:
        if repository in self.hub.refuse:
            return self._refuse(*self.hub.refuse[repository])
        commit, files = self.hub.repositories[repository]
        data = self.hub.served.get(name, files[name])
        etag = hashlib.sha256(files[name]).hexdigest() if _large(name) else hashlib.sha1(data).hexdigest()  # noqa: S324
        return self._send(data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}, body, slow=_large(name))

    def _refuse(self, code: int, error: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, headers: dict[str, str], body: bool, slow: bool = False) -> None:
        self.send_response(200)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        half = len(data) // 2 if slow and self.hub.hold is not None else 0
        self.wfile.write(data[:half])
        if half and self.hub.hold is not None:
            self.hub.hold.wait(60)
        self.wfile.write(data[half:])


def _large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one repository, at one commit."""
    hub = Hub({MM.hub_id: (COMMIT, FILES | OTHERS)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that are killed
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def weights(offline_cli: Cli, hub: Hub) -> Cli:
    return replace(
        offline_cli,
        more={
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(offline_cli.folder / "hf"),
            "HF_TOKEN": "",
            "NO_PROXY": "127.0.0.1",
            "OVSEG3R_WEIGHTS": str(offline_cli.folder / "weights"),
        },
    )


def visible(cli: Cli) -> list[str]:
    """What anybody sees of the fetched weights."""
    return sorted(path.name for path in (cli.folder / "weights").glob("[!.]*"))


def test_fetched_weights_are_found_and_nothing_else_was_loaded(
    weights: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done,) = weights.run("weights", "fetch", MM.name, "--json").json()
    folder = weights.folder / "weights" / MM.name
    assert (done["folder"], done["revision"], done["pinned"]) == (str(folder), COMMIT, False)
    assert any(COMMIT in note for note in done["notes"])
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST} == FILES
    assert sorted(hub.loaded()) == sorted(FILES)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["hub_id"], manifest["revision"], manifest["licence"]) == (MM.hub_id, COMMIT, MM.licence)
    assert manifest["files"]["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert manifest["files"]["vocab.txt"]["size"] == len(FILES["vocab.txt"])

    monkeypatch.setenv("OVSEG3R_WEIGHTS", str(weights.folder / "weights"))
    assert find(MM.name) == find(MM.hub_id) == folder
    copy = shutil.copytree(folder, weights.folder / "copy", copy_function=shutil.copyfile)
    assert content_digest(copy) == content_digest(folder)

    hub.asked.clear()
    again = weights.run("weights", "fetch", MM.hub_id)
    assert (again.code, hub.asked) == (0, [])
    assert "already here" in again.out
    rows = {row["name"]: row for row in weights.run("weights", "list", "--json").json()}
    assert {name for name, row in rows.items() if row["here"]} == {MM.name}
    table = weights.run("weights", "list")
    assert (table.code, table.err) == (0, "")
    assert all(entry.name in table.out and entry.licence in table.out for entry in KNOWN)
    assert COMMIT[:12] in table.out


def test_verify_finds_a_flipped_byte_and_fetch_mends_it(weights: Cli) -> None:
    nothing = weights.run("weights", "verify")
    assert (nothing.code, nothing.err) == (0, "")
    assert "no weights are here" in nothing.out
    missing = weights.run("weights", "verify", MM.name)
    assert missing.code == 2
    assert f"ovseg3r weights fetch {MM.name}" in missing.err

    assert weights.run("weights", "fetch", MM.name).code == 0
    file = weights.folder / "weights" / MM.name / "model.safetensors"
    digest = content_digest(file.parent)
    whole = weights.run("weights", "verify")
    assert (whole.code, whole.out) == (0, f"{MM.name}: whole, content {digest}\n")
    times = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # a fault of the disk, not a change
    damaged = weights.run("weights", "verify")
    assert (damaged.code, damaged.err) == (1, "")
    assert f"{file}: has changed" in damaged.out

    assert weights.run("weights", "fetch", MM.name).code == 0
    assert file.read_bytes() == WEIGHTS
    own = {"name": str(file.parent), "folder": str(file.parent), "digest": digest, "faults": []}
    assert weights.run("weights", "verify", file.parent, "--json").json() == [own]


@pytest.mark.parametrize(
    ("name", "served", "expected"),
    [
        (SAM.name, WEIGHTS, SAM.sha256["model.safetensors"]),  # what the hub says, but not what is pinned
        (MM.name, WEIGHTS[:-1] + b"x", hashlib.sha256(WEIGHTS).hexdigest()),  # not even what the hub says
    ],
)
def test_wrong_content_leaves_nothing(weights: Cli, hub: Hub, name: str, served: bytes, expected: str) -> None:
    hub.repositories[SAM.hub_id] = (str(SAM.revision), FILES)
    hub.served["model.safetensors"] = served
    done = weights.run("weights", "fetch", name)
    assert (done.code, done.out) == (2, "")
    assert hashlib.sha256(served).hexdigest() in done.err
    assert expected in done.err
    assert visible(weights) == []
    assert list((weights.folder / "weights").rglob("*.safetensors")) == []


def test_a_killed_fetch_leaves_nothing_visible_and_a_repeat_goes_on(weights: Cli, hub: Hub) -> None:
    hub.hold = threading.Event()
    killed = weights.start("weights", "fetch", MM.name)
    hidden = weights.folder / "weights"
    _wait_until(lambda: "model.safetensors" in hub.loaded())
    beside = weights.run("weights", "fetch", MM.name)
    assert beside.code == 2
    assert "being fetched by another process" in beside.err
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    hub.hold.set()
    assert visible(weights) == []
    assert not any(row["here"] for row in weights.run("weights", "list", "--json").json())

    hub.asked.clear()
    assert weights.run("weights", "fetch", MM.name).code == 0
    assert hub.loaded() == ["model.safetensors"]  # the others had come
    assert visible(weights) == [MM.name]
    assert (hidden / MM.name / "model.safetensors").read_bytes() == WEIGHTS
    assert [path.name for path in hidden.glob(".*")] == [f".{MM.name}.lock"]


def test_what_cannot_be_had_is_one_sentence(weights: Cli, hub: Hub) -> None:
    hub.repositories[SAM.hub_id] = (COMMIT, FILES)  # the pinned revision has gone
    other = next(entry for entry in KNOWN if entry.name == "sam-vit-large")
    hub.repositories[other.hub_id] = (str(other.revision), OTHERS | {"config.json": b"{}"})
    hub.repositories[SAM3.hub_id] = (str(SAM3.revision), FILES)
    hub.refuse[SAM3.hub_id] = (403, "GatedRepo")
    nowhere = replace(weights, more=weights.more | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    on_a_file = replace(weights, more=weights.more | {"OVSEG3R_WEIGHTS": "file"})
    (weights.folder / "file").touch()
    cases = [
        (weights, SAM3.name, f"({SAM3.licence}); accept them at {SAM3.page}, run `hf auth login`"),
        (weights, SAM.name, f"has no revision {SAM.revision}"),
        (weights, other.name, "safetensors only"),
        (weights, "sam2.1-hiera-tiny", "hf auth login"),
        (weights, "sam9", "sam-vit-base"),
        (nowhere, MM.name, "cannot be had from the hub"),
        (on_a_file, MM.name, "OVSEG3R_WEIGHTS"),
    ]
    running = [cli.start("weights", "fetch", name) for cli, name, _ in cases]
    for process, (_, _, told) in zip(running, cases, strict=True):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
        assert told in err
    assert visible(weights) == []


def test_a_full_disk_is_told(weights: Cli) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = weights.run("weights", "fetch", MM.name, preexec=little)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "is full; make room" in done.err
    assert visible(weights) == []


def test_offline_makes_no_request(weights: Cli, hub: Hub) -> None:
    empty = weights.run("weights", "fetch", MM.name, "--offline")
    assert (empty.code, empty.out, empty.err.count("\n")) == (2, "", 1)
    assert MM.hub_id in empty.err
    said = replace(weights, more=weights.more | {"HF_HUB_OFFLINE": "1"}).run("weights", "fetch", MM.name)
    assert (said.code, said.err) == (2, empty.err)
    assert hub.asked == []

    fill = (
        f"from huggingface_hub import hf_hub_download as load\nfor name in {sorted(FILES)}: load({MM.hub_id!r}, name)"
    )
    subprocess.run([sys.executable, "-c", fill], env=weights.environment, check=True, capture_output=True)
    hub.asked.clear()
    (done,) = weights.run("weights", "fetch", MM.name, "--offline", "--json").json()
    assert (done["revision"], done["loaded"], hub.asked) == (COMMIT, True, [])
    assert {path.name for path in Path(done["folder"]).iterdir()} == {*FILES, MANIFEST}

    shutil.rmtree(done["folder"])
    (next((weights.folder / "hf").rglob("snapshots")) / COMMIT / "model.safetensors").resolve().write_bytes(b"damaged")
    damaged = weights.run("weights", "fetch", MM.name, "--offline")
    assert damaged.code == 2
    assert visible(weights) == []


def test_a_pinned_revision_is_asked_for_by_its_commit(weights: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "f" * 40
    hub.repositories["toys/sam"] = (commit, FILES)
    program = (
        "from ovseg3r_model.weights import KnownWeights\n"
        "from ovseg3r_model.weights.fetch import fetch\n"
        f"sums = {{'model.safetensors': {hashlib.sha256(WEIGHTS).hexdigest()!r}}}\n"
        f"toy = KnownWeights({SAM.name!r}, 'sam', 'toys/sam', {commit!r}, 'Apache-2.0', 1, sha256=sums)\n"
        "print(fetch(toy).folder)"
    )
    subprocess.run([sys.executable, "-c", program], env=weights.environment, check=True, capture_output=True)
    assert f"GET /api/models/toys/sam/revision/{commit}" in hub.asked
    assert all(f"/resolve/{commit}/" in request for request in hub.asked if "/resolve/" in request)
    monkeypatch.setenv("OVSEG3R_WEIGHTS", str(weights.folder / "weights"))
    with pytest.raises(InputError, match=f"holds toys/sam at {commit[:12]}.* get them with: ovseg3r weights fetch"):
        find(SAM.name)  # of the real name there is something else here


def test_progress_is_shown_in_a_terminal(weights: Cli) -> None:
    terminal, side = pty.openpty()
    command = [Path(sys.executable).with_name("ovseg3r"), "weights", "fetch", MM.name]
    environment = weights.environment | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=weights.folder, env=environment, stdout=subprocess.PIPE, stderr=side) as process:
        os.close(side)
        shown = b""
        while chunk := _read(terminal):
            shown += chunk
    os.close(terminal)
    assert process.returncode == 0
    assert f"{MM.name} ({MM.licence})" in shown.decode()
    total = sum(map(len, FILES.values())) / 1000
    assert f"{total:.1f}/{total:.1f} kB" in shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux tells so that the other side has closed
        return b""


def _wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "that did not happen in time"
        time.sleep(0.02)
