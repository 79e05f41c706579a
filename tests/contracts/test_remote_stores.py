"""What a network does to a store: lost answers, outages, wrong addresses; and what may never be seen of it: secrets."""

import asyncio
import http.server
import re
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
from obstore.exceptions import GenericError

from ovseg3r_model.errors import InputError
from storage.arrays import read_array, write_array
from storage.catalog import Catalog
from storage.errors import StoreError, scrubbed
from storage.remote import again, again_async
from storage.scene_store import SceneStore
from storage.stages import Stages
from storage.store import Store
from tests.contracts.store_contract import digest, row, scene
from tests.s3_server import ACCESS_KEY, SECRET, Proxy, S3Server


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Leads to the server; so does the environment, through it."""
    with Proxy(s3.port) as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def store(s3: S3Server, proxy: Proxy) -> Store:
    return Store.open(f"{s3.bucket('faults')}/{secrets.token_hex(8)}")


def test_an_answer_lost_on_the_way_changes_nothing(store: Store, proxy: Proxy) -> None:
    proxy.cut(b"/key ")
    assert store.put_if_absent("key", b"mine")
    assert proxy.cutting == 0
    assert not store.put_if_absent("key", b"mine")
    proxy.cut(b"/catalog/")
    assert Catalog(store).add(row())
    attempt = Stages(store).begin("lift", digest(1))
    attempt.put("note", b"x")
    proxy.cut(b"/commit.json ")
    assert Stages(store).commit(attempt, {}, 0.0).get("note") == b"x"
    proxy.cut(b"?delete")
    store.delete(["key"])
    assert store.get("key") is None
    assert proxy.cutting == 0


def test_one_writer_wins_though_answers_are_lost(store: Store, proxy: Proxy) -> None:
    start = threading.Barrier(8)

    def write(writer: int) -> list[bool]:
        start.wait()
        return [store.put_if_absent(f"k{number}", str(writer).encode()) for number in range(5)]

    proxy.cut(b"PUT ", 20)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert proxy.cutting == 0
    for number in range(5):
        (winner,) = [writer for writer in range(8) if won[writer][number]]
        assert store.get(f"k{number}") == str(winner).encode()


def test_an_outage_only_delays(store: Store, proxy: Proxy) -> None:
    store.put_if_absent("there", b"1")
    store.put_if_absent("gone", b"1")
    group = store.create_group("g")
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("new", b"1"),
        lambda: store.get("there"),
        lambda: store.list(""),
        lambda: store.list_starting("th"),
        lambda: store.delete(["gone"]),
        lambda: write_array(group, "a", np.arange(9)),
        lambda: Catalog(store).add(row()),
    ]
    proxy.refuse()
    start = time.monotonic()
    threading.Timer(1.0, proxy.allow).start()
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()
    assert time.monotonic() - start > 1
    assert (store.get("new"), store.get("gone")) == (b"1", None)
    np.testing.assert_array_equal(read_array(store.open_group("g"), "a"), np.arange(9))
    assert Catalog(store).rows() != []


@pytest.mark.parametrize(
    ("text", "tries"),
    [
        ("HTTP error: error sending request ... Canceled, connection was not ready", 3),  # obstore makes no other try
        ("Server returned non-2xx status code: 503 Service Unavailable", 3),
        ("Client error with status 403 Forbidden", 1),
    ],
)
def test_what_obstore_gives_up_is_asked_again_where_it_passes(text: str, tries: int) -> None:
    made: list[int] = []

    def call() -> str:
        made.append(1)
        if len(made) < 3:
            raise GenericError(text)
        return "there"

    async def call_later() -> str:
        return call()

    for run in (lambda: again(call, 5), lambda: asyncio.run(again_async(call_later, 5))):
        made.clear()
        with nullcontext() if tries == 3 else pytest.raises(GenericError):
            assert run() == "there"
        assert len(made) == tries
    made.clear()
    with pytest.raises(GenericError):
        again(call, 0)
    assert len(made) == 1


def test_every_request_is_made_again_where_obstore_gives_it_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"put", "get", "list", "delete", "list_with_delimiter", "put_async", "get_async"}
    failed: set[str] = set()

    def fails_once(name: str) -> None:
        real = getattr(obstore, name)

        def call(*given: Any, **more: Any) -> Any:
            kind = f"{name}, create" if more.get("mode") == "create" else name
            if kind in failed:
                return real(*given, **more)
            failed.add(kind)
            raise GenericError("HTTP error: error sending request ... Canceled, connection was not ready")

        async def call_later(*given: Any, **more: Any) -> Any:
            return await call(*given, **more)

        monkeypatch.setattr(obstore, name, call_later if name.endswith("_async") else call)

    for name in asked:
        fails_once(name)
    store.put("a/b", b"1")
    assert store.put_if_absent("a/cd", b"2")
    assert store.get("a/b") == b"1"
    failed.discard("get")
    assert not store.put_if_absent("a/cd", b"3")  # asks who has written it
    assert [entry.key for entry in store.list("a")] == ["a/b", "a/cd"]
    failed.discard("list")
    assert [entry.key for entry in store.list_starting("a/c")] == ["a/cd"]
    store.delete(["a/b"])
    Store.open(store.url, create=False)
    group = store.create_group("g")
    for name in ("first", "within/second"):  # the latter writes its parent, too, unless it is there
        failed.difference_update(("put_async", "get_async"))
        write_array(group, name, np.arange(9))
    failed.discard("get_async")
    np.testing.assert_array_equal(read_array(store.open_group("g"), "within/second"), np.arange(9))
    assert failed == asked | {"put, create", "put_async, create"}


def test_a_store_that_stays_away_is_a_sentence(s3: S3Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSEG3R_STORE_PATIENCE", "0.3")
    store = Store.open(f"{s3.bucket('faults')}/away")
    proxy.refuse()
    start = time.monotonic()
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("a", b""),
        lambda: store.get("a"),
        lambda: store.list("a"),
        lambda: store.delete(["a"]),
        lambda: store.open_group("g"),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"s3://faults/away: could not be reached while .*[.]$") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert 1 < time.monotonic() - start < 10


@pytest.mark.parametrize("patience", ["soon", "-1", "inf", "nan"])
def test_patience_is_seconds(patience: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSEG3R_STORE_PATIENCE", patience)
    with pytest.raises(InputError, match="OVSEG3R_STORE_PATIENCE"):
        Store.open("s3://faults/x")


class TestFirstContact:
    """Whoever mistypes something is told soon, and what."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storage.store.FIRST_CONTACT", 0.5)

    def refused(self, url: str, kind: type[Exception], sentence: str) -> None:
        start = time.monotonic()
        for contact in (lambda: Store.open(url, create=False), lambda: Store.open(url).check_writable()):
            with pytest.raises(kind, match=rf"^{re.escape(url)}: {sentence}[^\n]*[.]$"):
                contact()
        assert time.monotonic() - start < 10

    def test_a_good_address(self, store: Store) -> None:
        store.check_writable()
        assert Store.open(store.url, create=False).list("") == []

    def test_no_bucket(self, proxy: Proxy) -> None:
        self.refused("s3://no-bucket/x", InputError, "the bucket does not exist")
        with pytest.raises(InputError, match="the bucket does not exist"):
            Store.open("s3://no-bucket/x").get("key")

    def test_nobody_listens(self, proxy: Proxy) -> None:
        proxy.refuse()
        self.refused("s3://faults/x", StoreError, "could not be reached while .*AWS_ENDPOINT_URL")

    def test_no_host(self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-host.invalid:9000")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,no-host.invalid")
        self.refused("s3://faults/x", StoreError, "could not be reached while .*no host of this name")

    def test_no_credentials(self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        self.refused("s3://faults/x", InputError, "no credentials were found; give AWS_ACCESS_KEY_ID")

    @pytest.mark.parametrize(
        ("code", "sentence"),
        [
            ("SignatureDoesNotMatch", r"access denied \(SignatureDoesNotMatch\); check the credentials"),
            ("AccessDenied", r"access denied \(AccessDenied\); check the credentials"),
            ("AuthorizationHeaderMalformed", "the bucket is in another region; name it with AWS_REGION"),
        ],
    )
    def test_refused_by_the_server(
        self, denying: "type[Denying]", code: str, sentence: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(denying, "code", code)
        self.refused("s3://faults/x", InputError, sentence)


class Denying(http.server.BaseHTTPRequestHandler):
    """Answers as S3 does to a wrong key: with all it knows of the request. keys: that requests were signed with."""

    protocol_version = "HTTP/1.1"
    code: str
    keys: set[str]

    def answer(self) -> None:
        signed = self.headers.get("Authorization", "")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.keys.update(re.findall(r"Credential=(\w+)/", signed))
        signature = signed.rpartition("=")[2]
        body = (
            f"<Error><Code>{self.code}</Code><Message>denied</Message><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId>"
            f"<StringToSign>AWS4-HMAC-SHA256 {signature}</StringToSign><SignatureProvided>{signature}"
            f"</SignatureProvided><Token-0>{SECRET}</Token-0></Error>"
        ).encode()
        self.send_response(400 if self.code == "AuthorizationHeaderMalformed" else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def denying(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Denying]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denying)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(Denying, "keys", set(), raising=False)
    monkeypatch.setattr(Denying, "code", "SignatureDoesNotMatch", raising=False)
    yield Denying
    server.shutdown()
    server.server_close()


def test_no_traceback_shows_a_secret(denying: type[Denying]) -> None:
    store = Store.open("s3://faults/x")
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("a", b""),
        lambda: store.get("a"),
        lambda: store.list("a"),
        lambda: store.delete(["a"]),
        lambda: store.open_group("g"),
        lambda: store.create_group("g"),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        shown = "".join(traceback.format_exception(caught.value)) + repr(store)
        assert "SignatureDoesNotMatch" in shown
        assert ACCESS_KEY not in shown
        assert SECRET not in shown
        assert not re.search(r"[0-9a-f]{64}", shown)  # a signature


def test_a_profile_gives_the_keys(denying: type[Denying], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    profiles = tmp_path / "credentials"
    profiles.write_text("[lab]\naws_access_key_id = KEYOFLAB\naws_secret_access_key = abc\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(InputError, match="access denied"):
        Store.open("s3://faults/x").get("a")
    assert denying.keys == {"KEYOFLAB"}
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(InputError, match="profile cannot be used"):
        Store.open("s3://faults/x")


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEYID:hidden@bucket/x",
        "s3://hidden@bucket/x",
        "s3://bucket/x?X-Amz-Signature=hidden",
        "gs://bucket/x?token=hidden",
        "abfss://box:hidden@account.dfs.core.windows.net/x",
        "az://box/x?sig=hidden",
        "https://user:hidden@host/x",
    ],
)
def test_credentials_in_a_url_are_refused_unseen(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Store.open(url)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET http://h/b/k?X-Amz-Signature=0af1&x=1 failed", "GET http://h/b/k?X-Amz-Signature=***&x=1 failed"),
        ("?sv=2024&sig=ab%2Fc", "?sv=2024&sig=***"),
        ("http://user:word@host/x", "http://***@host/x"),
        ("by AKIAIOSFODNN7EXAMPLE.", "by ***."),
        ('"authorization": "AWS4 Credential=x"', '"authorization": "***"'),
        ("<Token-0>abc</Token-0>", "<Token-0>***</Token-0>"),
        ("the key is Zx8qqqqq", "the key is ***"),
        ("room-7scenes@0a1b failed", "room-7scenes@0a1b failed"),
    ],
)
def test_what_is_scrubbed(text: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "Zx8qqqqq")
    assert scrubbed(text) == left


def test_a_scenes_arrays_travel_side_by_side(store: Store, proxy: Proxy) -> None:
    proxy.delay = 0.02
    SceneStore(store).publish(scene(), "room", digest(1), {}, {})
    assert proxy.most >= 5
    proxy.forget()
    SceneStore(store).read("room", digest(1))
    assert proxy.most >= 5


def test_shards_travel_side_by_side(store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.arrays.CHUNK_ROWS", 1000)
    monkeypatch.setattr("storage.arrays.SHARD_BYTES", 8000)
    data = np.arange(20_000)
    proxy.delay = 0.02
    write_array(store.create_group("g"), "a", data)
    assert proxy.most >= 5
    proxy.forget()
    np.testing.assert_array_equal(read_array(store.open_group("g"), "a"), data)
    assert proxy.most >= 5
