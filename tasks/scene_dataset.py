"""Published scenes as a training reads them: in worker processes, in an order that follows from the seed alone."""

import multiprocessing
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Int64
from ovseg3r_model.training.augment import augmented
from ovseg3r_model.training.data_settings import AugmentSettings, DataSettings
from ovseg3r_model.training.samples import TrainingScene, training_scene
from storage.errors import StoreError
from storage.scene_store import SceneStore
from storage.store import Store

T = TypeVar("T")
Collate = Callable[[int, list[TrainingScene]], T]
"""What a worker makes of a batch's number and scenes; a function that can be sent to another process."""
_ORDER, _SAMPLE = 0, 1  # what a random generator is for, lest two be seeded alike


class SceneDataset(Dataset[TrainingScene]):
    """Scenes of a store, augmented anew in every epoch. An item is asked for by (epoch, place in ``scenes``) and is the
    same whoever reads it, in whatever order.

    A copy in another process opens the store itself, and keeps scenes of its own.
    """

    def __init__(
        self,
        store_url: str,
        scenes: Sequence[tuple[str, str]],
        augment: AugmentSettings,
        seed: int,
        cache: int = 0,
    ) -> None:
        """scenes: id and digest of each, from its catalog row. cache: MiB of scenes, before augmentation, that are kept
        in memory. Raises InputError without scenes."""
        if not scenes:
            raise InputError(f"{store_url}: no scene to train on; `ovseg3r catalog` lists what is there.")
        self.store_url, self.scenes, self.augment, self.seed = store_url, tuple(scenes), augment, seed
        self._cache = _SceneCache(cache * 2**20)
        self._store: SceneStore | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return SceneDataset, (self.store_url, self.scenes, self.augment, self.seed, self._cache.limit // 2**20)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: tuple[int, int]) -> TrainingScene:
        """Raises InputError that names the scene: it is gone, damaged, or of another schema."""
        epoch, index = key
        scene = self._cache.get(index)
        if scene is None:
            scene = self._read(index)
            self._cache.put(index, scene)
        return augmented(_shared(scene), self.augment, np.random.default_rng([self.seed, _SAMPLE, epoch, index]))

    def order(self, epoch: int) -> Int64:
        """(n,) the places in ``scenes``, shuffled for that epoch."""
        return np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self))

    def _read(self, index: int) -> TrainingScene:
        if self._store is None:
            self._store = SceneStore(Store.open(self.store_url, create=False))
        scene_id, digest = self.scenes[index]
        try:
            stored = self._store.read(scene_id, digest)
        except (InputError, StoreError):
            raise
        except (LookupError, RuntimeError, ValueError, OSError) as error:
            raise self._damaged(scene_id, f"cannot be read ({type(error).__name__}: {error})") from error
        published = stored.published
        missing = published.bytes - sum(entry.size for entry in self._store.store.list(published.prefix))
        if missing:  # Zarr reads a lost chunk as zeros, and the training would go on with them
            raise self._damaged(scene_id, f"has lost {missing} bytes")
        return training_scene(scene_id, stored.scene)

    def _damaged(self, scene_id: str, what: str) -> InputError:
        return InputError(
            f"scene {scene_id} of {self.store_url} {what}; `ovseg3r show {scene_id} --verify` tells more. Publish it "
            "again or leave it out."
        )


def scene_batches(
    dataset: SceneDataset,
    settings: DataSettings,
    batch: int,
    numbers: range,
    collate: Collate[T],
    places: range | None = None,
) -> Iterator[T]:
    """``collate`` of each batch in ``numbers``, made in worker processes some batches ahead.

    The batches divide one endless row of epochs, each a permutation of the scenes: batch k has the ``batch`` scenes
    from place ``k * batch`` on. So a training goes on at batch k without reading what came before, whatever
    ``settings`` say. What cannot be read, or is refused by ``collate``, is an InputError when its batch is asked for.

    Args:
        places: of each batch only the scenes at these places, for one of several processes; without it all.

    Raises:
        InputError: workers are asked for, and the store is this process's memory.
    """
    if settings.workers:
        check_readable_elsewhere(dataset.store_url)
    loader: DataLoader[T | _Refused] = DataLoader(
        _Batches(dataset, batch, places or range(batch), collate),
        batch_size=None,
        sampler=numbers,
        collate_fn=_as_it_is,
        num_workers=settings.workers,
        prefetch_factor=settings.prefetch if settings.workers else None,
        multiprocessing_context=_context() if settings.workers else None,
        worker_init_fn=_end_with_the_training,
        generator=torch.Generator().manual_seed(0),  # else it draws from the global one, which is the training's
    )
    return _taken(loader)


def check_readable_elsewhere(store_url: str) -> None:
    """Raises InputError: the store is this process's memory."""
    if store_url.startswith("memory://"):
        raise InputError(
            f"{store_url}: other processes cannot read this store; take workers 0 and one process, or a folder."
        )


def _context() -> Any:
    """Processes forked from a fresh one that has imported this file: this process's threads (torch, Prefect, the
    store) would not survive a fork, and to start every worker from nothing takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _end_with_the_training(_worker: int) -> None:
    """The loader's own watch looks at the parent process, which here is not the training: workers of a killed training
    would wait for ever."""

    def watch() -> None:
        training = multiprocessing.parent_process()
        if training is not None:
            training.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class _Refused:
    """An InputError on its way from a worker: the loader would put a traceback into its sentence."""

    reason: str


@dataclass(frozen=True)
class _Batches(Dataset[T | _Refused], Generic[T]):
    """Batches by number; workers run it, on one thread of torch each (the loader sees to that)."""

    dataset: SceneDataset
    batch: int
    places: range
    collate: Collate[T]

    def __getitem__(self, number: int) -> T | _Refused:
        first, scenes = number * self.batch, len(self.dataset)
        try:
            places = [divmod(first + place, scenes) for place in self.places]
            orders = {epoch: self.dataset.order(epoch) for epoch in {epoch for epoch, _ in places}}
            return self.collate(number, [self.dataset[epoch, int(orders[epoch][k])] for epoch, k in places])
        except InputError as error:
            return _Refused(str(error))


def _as_it_is(value: T) -> T:
    return value


def _taken(loader: DataLoader[T | _Refused]) -> Iterator[T]:
    for value in loader:
        if isinstance(value, _Refused):
            raise InputError(value.reason)
        yield value


class _SceneCache:
    """Scenes by place, the least recently used let go beyond ``limit`` bytes; a scene larger than that is not kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[int, TrainingScene] = OrderedDict()
        self._bytes = 0

    def get(self, index: int) -> TrainingScene | None:
        scene = self._held.get(index)
        if scene is not None:
            self._held.move_to_end(index)
        return scene

    def put(self, index: int, scene: TrainingScene) -> None:
        size = _bytes(scene)
        if size > self.limit:
            return
        self._held[index] = scene
        self._bytes += size
        while self._bytes > self.limit:
            _, old = self._held.popitem(last=False)
            self._bytes -= _bytes(old)


def _bytes(scene: TrainingScene) -> int:
    reduction = scene.input.reduction
    parts = (*vars(scene.input).values(), *vars(scene.targets).values())
    held = sum(part.nbytes for part in parts if isinstance(part, Tensor))
    return held + (0 if reduction is None else reduction.mean.nbytes + reduction.basis.nbytes)


def _shared(scene: TrainingScene) -> TrainingScene:
    """The same memory in tensors of their own. To send a tensor to another process moves it into shared memory for
    good: the cached one must not be what is sent."""

    def fresh(record: Any) -> Any:
        tensors = {name: value for name, value in vars(record).items() if isinstance(value, Tensor)}
        return replace(record, **{name: torch.from_numpy(value.numpy()) for name, value in tensors.items()})

    return replace(scene, input=fresh(scene.input), targets=fresh(scene.targets))
