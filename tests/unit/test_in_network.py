"""Batches, precision and too little memory, on networks that only count."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import UInt8
from ovseg3r_model.segmentation.in_network import Batches, fitting, frames_at_once, in_halves, inference

COUNT = 11
CPU = torch.device("cpu")


def frame(view: int) -> UInt8:
    return np.full((2, 2, 3), view, np.uint8)


class Network:
    """Gives each frame's number with its batch; runs out of memory on more than ``most`` frames."""

    def __init__(self, most: int = 1000, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.most, self.error = most, error
        self.batches: list[list[int]] = []

    def __call__(self, frames: Sequence[UInt8]) -> list[tuple[int, tuple[int, ...]]]:
        numbers = [int(one[0, 0, 0]) for one in frames]
        if len(numbers) > self.most:
            raise self.error("CUDA out of memory: tried to allocate")
        self.batches.append(numbers)
        return [(number, tuple(numbers)) for number in numbers]


def run(network: Network, size: int, views: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
    return list(Batches(size).results(frame, COUNT, views, network))


def test_a_frame_is_always_in_the_same_batch() -> None:
    everything = run(Network(), 4, range(COUNT))
    assert [number for number, _ in everything] == list(range(COUNT))
    assert {batch for _, batch in everything} == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10)}
    for views in ([6], [9, 2, 3], [5, 5], range(COUNT - 1, -1, -1), range(6, COUNT)):
        assert run(Network(), 4, views) == [everything[v] for v in views]


def test_frames_in_order_go_through_once() -> None:
    network = Network()
    run(network, 4, range(COUNT))
    assert [number for batch in network.batches for number in batch] == list(range(COUNT))
    network = Network()
    run(network, 4, range(6, COUNT))  # what a killed run left: the batch in flight goes through again, no other
    assert network.batches == [[4, 5, 6, 7], [8, 9, 10]]


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    network = Network()
    results = Batches(4).results(frame, COUNT, range(COUNT), network)
    next(results)
    assert network.batches == [[0, 1, 2, 3]]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_too_little_memory_halves_the_batch_and_goes_on(error: type[Exception]) -> None:
    network = Network(most=3, error=error)
    results = run(network, 8, range(COUNT))
    assert [number for number, _ in results] == list(range(COUNT))
    assert network.batches[:4] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert network.batches[4:] == [[8, 9], [10]]  # batches of two from now on, without trying eight again


def test_what_does_not_fit_at_all_is_told() -> None:
    with pytest.raises(InputError, match=r"on one frame.*smaller weights"):
        run(Network(most=0), 4, range(COUNT))


def test_what_does_not_fit_inside_a_frame_makes_the_frames_fewer() -> None:
    """Boxes of a frame are halved too; when even one does not fit, it is the frames beside it that take the room."""

    def network(frames: Sequence[UInt8]) -> list[int]:
        def boxes(part: Sequence[int]) -> list[int]:
            if len(frames) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return list(part)

        return [sum(in_halves(boxes, [1, 2, 3])) + int(one[0, 0, 0]) for one in frames]

    assert list(Batches(8).results(frame, COUNT, range(COUNT), network)) == [6 + view for view in range(COUNT)]


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(_: Sequence[int]) -> list[int]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_halves(broken, [1, 2])


def test_halving_lets_go_of_what_the_failed_try_held() -> None:
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def network(items: Sequence[int]) -> list[int]:
        if len(items) > 1:
            tensor = torch.zeros(10)
            held.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError("out of memory")
        assert held[0]() is None
        return list(items)

    assert in_halves(network, [1, 2]) == [1, 2]


def test_the_batch_is_a_power_of_two_that_fits() -> None:
    assert [fitting(room, 10) for room in (0, 19, 20, 79, 80, 10**6)] == [1, 1, 2, 4, 8, 64]


def test_one_frame_at_a_time_on_the_cpu_unless_asked() -> None:
    network = Network()
    assert frames_at_once(None, CPU, lambda: frame(0), network) == 1
    assert frames_at_once(5, CPU, lambda: frame(0), network) == 5
    assert network.batches == []


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_precision(precision: str) -> None:
    with inference(CPU, precision):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
    assert product.is_inference()
