import resource
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg3r_model.errors import InputError
from storage.errors import StoreError
from storage.store import Store
from tests.contracts.store_contract import StoreContract
from tests.s3_server import S3Server


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store.open(tmp_path / "a store")


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Store.open(f"memory://{secrets.token_hex(8)}")


class TestS3Store(StoreContract):
    """Against a server process, over the network as any other."""

    commits = 5

    @pytest.fixture
    def store(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        return Store.open(f"{s3.bucket('contract')}/{secrets.token_hex(8)}")


def test_memory_is_one_store_by_name() -> None:
    name = secrets.token_hex(8)
    Store.open(f"memory://{name}").put_if_absent("k", b"v")
    assert Store.open(f"memory://{name}").get("k") == b"v"
    assert Store.open(f"memory://{name}-other").get("k") is None


def test_a_folder_has_three_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stores = [Store.open("my store"), Store.open(tmp_path / "my store"), Store.open((tmp_path / "my store").as_uri())]
    assert {store.url for store in stores} == {(tmp_path / "my store").as_uri()}
    assert (tmp_path / "my store").is_dir()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "path is empty"),
        ("ftp://host/x", "cannot hold a store"),
        ("https://host/x", "cannot hold a store"),
        ("hdfs://host/x", "cannot hold a store"),
        ("s3://", "no usable store"),
        ("az://container/x", "no usable store"),
        ("/proc/nothing/x", "cannot be made"),
    ],
)
def test_unusable_urls_say_what_to_do(url: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(InputError, match=sentence):
        Store.open(url)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is a file"):
        Store.open(tmp_path / "file")


def test_readers_make_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no store"):
        Store.open(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()


def test_a_remote_store_keeps_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    store = Store.open("s3://bucket/rooms/")
    assert store.url == "s3://bucket/rooms"
    assert (store.backend.prefix, store.root) == ("rooms", None)


FULL = """
import resource, signal, sys
import numpy as np
from ovseg3r_model.errors import InputError
from storage.arrays import write_array
from storage.scene_store import SceneStore
from storage.stages import Stages
from storage.store import Store
from tests.unit.stored_scenes import digest, scene

store = Store.open(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
attempt = Stages(store).begin("s", digest(1))
calls = [
    lambda: store.put_if_absent("big", bytes(10_000)),
    lambda: write_array(attempt.group(), "a", np.random.default_rng(0).random(10_000)),
    lambda: SceneStore(store).publish(scene(points=5000), "room", digest(1), {}, {}),
]
for call in calls:
    try:
        call()
        raise SystemExit("it was written")
    except InputError as error:
        assert "no space left" in str(error), error
        assert store.url in str(error), error
        assert " bytes; " in str(error), error
        assert error.__cause__ is not None
assert SceneStore(store).published("room", digest(1)) is None
assert store.list("scenes") == []
"""


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    """A limit on file sizes fails every write beyond it as a full disk does."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    assert hasattr(signal, "SIGXFSZ")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


FORBIDDEN = """
import os, sys
from ovseg3r_model.errors import InputError
from storage.store import Store

store = Store.open(sys.argv[1])
os.chmod(sys.argv[1], 0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    store.check_writable()
    raise SystemExit("it was written")
except InputError as error:
    assert "no permission" in str(error) and store.url in str(error), error
"""


def test_a_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, str(tmp_path / "x")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_file_in_the_way_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "probes").write_bytes(b"")
    with pytest.raises((InputError, StoreError), match=tmp_path.as_uri()):
        Store.open(tmp_path).check_writable()
