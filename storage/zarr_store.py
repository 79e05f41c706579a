"""Zarr over a prefix of an obstore store, with the project's errors.

zarr's own ``ObjectStore`` roots at the whole bucket, so making a group below it writes ``zarr.json`` into every
parent folder; and it lets obstore's errors through as they are. This one does neither.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Self

import obstore
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from storage.errors import store_errors
from storage.remote import again_async


class PrefixedStore(ObjectStore[Any]):
    """The objects below ``prefix`` of ``backend``. url: how messages name the store. patience: seconds that it may be
    away."""

    def __init__(self, backend: Any, prefix: str, url: str, patience: float, *, read_only: bool = False) -> None:
        super().__init__(backend, read_only=read_only)
        self.prefix = prefix.strip("/")
        self.url = url
        self.patience = patience

    def with_read_only(self, read_only: bool = False) -> Self:
        return type(self)(self.store, self.prefix, self.url, self.patience, read_only=read_only)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, PrefixedStore) and super().__eq__(value) and self.prefix == value.prefix

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.url}/{self.prefix}"

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if key else self.prefix

    def _relative(self, path: str) -> str:
        return path[len(self.prefix) + 1 :]

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with store_errors(self.url, f"reading {self._full(key)}"):
            read = super().get
            return await again_async(lambda: read(self._full(key), prototype, byte_range), self.patience)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        with store_errors(self.url, f"reading {self.prefix}"):
            read, parts = super().get_partial_values, [(self._full(key), part) for key, part in key_ranges]
            return await again_async(lambda: read(prototype, parts), self.patience)

    async def exists(self, key: str) -> bool:
        with store_errors(self.url, f"looking for {self._full(key)}"):
            look = super().exists
            return await again_async(lambda: look(self._full(key)), self.patience)

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        with store_errors(self.url, f"writing {self._full(key)}", len(value)):
            # One request, which is repeated whole when the network fails; a shard is small enough for that, and a
            # multipart upload whose last answer is lost cannot be repeated.
            data = value.as_buffer_like()
            await again_async(
                lambda: obstore.put_async(self.store, self._full(key), data, use_multipart=False), self.patience
            )

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with store_errors(self.url, f"writing {self._full(key)}", len(value)):
            create = super().set_if_not_exists
            await again_async(lambda: create(self._full(key), value), self.patience)

    async def delete(self, key: str) -> None:
        with store_errors(self.url, f"deleting {self._full(key)}"):
            remove = super().delete
            await again_async(lambda: remove(self._full(key)), self.patience)

    async def delete_dir(self, prefix: str) -> None:
        async for key in self.list_prefix(prefix):
            await self.delete(key)

    def list(self) -> AsyncGenerator[str, None]:
        return self.list_prefix("")

    async def list_prefix(self, prefix: str) -> AsyncGenerator[str, None]:
        with store_errors(self.url, f"listing {self._full(prefix)}"):
            found = await again_async(lambda: self._listed(prefix), self.patience)
        for entry in found:
            yield self._relative(entry["path"])

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        folder = self._full(prefix.strip("/"))
        with store_errors(self.url, f"listing {folder}"):
            found = await again_async(
                lambda: obstore.list_with_delimiter_async(self.store, prefix=folder), self.patience
            )
        for path in (*found["common_prefixes"], *(entry["path"] for entry in found["objects"])):
            yield path[len(folder) + 1 :]

    async def getsize(self, key: str) -> int:
        with store_errors(self.url, f"looking for {self._full(key)}"):
            look = super().getsize
            return await again_async(lambda: look(self._full(key)), self.patience)

    async def getsize_prefix(self, prefix: str) -> int:
        with store_errors(self.url, f"listing {self._full(prefix)}"):
            found = await again_async(lambda: self._listed(prefix), self.patience)
        return sum(entry["size"] for entry in found)

    async def _listed(self, prefix: str) -> Sequence[Any]:
        found: Sequence[Any] = await obstore.list(self.store, prefix=self._full(prefix)).collect_async()
        return found
