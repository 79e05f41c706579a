from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.keyframes import choose_keyframes
from ovseg3r_model.records import Recording, subset
from ovseg3r_model.sources import open_recording


class _Unread:
    """Pictures that nobody may look at."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> np.ndarray:
        raise AssertionError("decoded")


def recording(color: object, count: int) -> Recording:
    return Recording("images", tuple(map(str, range(count))), np.arange(count), np.full(count, np.nan), color, (32, 24))


def checkers(blur: float) -> np.ndarray:
    pixels = np.kron((np.indices((24, 32)).sum(0) % 2) * 255, np.ones((4, 4))).astype(np.uint8)
    grey = cv2.GaussianBlur(pixels, (0, 0), blur) if blur else pixels
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_all_frames_when_there_are_few_without_decoding() -> None:
    assert choose_keyframes(recording(_Unread(5), 5), 5).tolist() == [0, 1, 2, 3, 4]
    assert choose_keyframes(recording(_Unread(5), 5), 200).tolist() == [0, 1, 2, 3, 4]


def test_the_sharp_frame_of_each_part_is_found() -> None:
    sharp = [2, 14, 21, 38]
    pictures = [checkers(0.0 if i in sharp else 3.0) for i in range(40)]
    chosen = choose_keyframes(recording(pictures, 40), 4)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == sharp


def test_equal_frames_give_an_even_stride() -> None:
    chosen = choose_keyframes(recording([checkers(1.0)] * 50, 50), 5)
    assert np.diff(chosen).tolist() == [10, 10, 10, 10]


def test_long_parts_are_only_searched_near_their_middle() -> None:
    pictures = [checkers(0.0 if i in (0, 190) else 3.0) for i in range(200)]
    chosen = choose_keyframes(recording(pictures, 200), 2)
    assert np.abs(chosen - np.array([49, 149])).max() <= 15


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 60), views=st.integers(1, 70), seed=st.integers(0, 99))
def test_strictly_increasing_and_near_the_even_stride(count: int, views: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    pictures = list(noise.integers(0, 255, (count, 8, 8, 3), dtype=np.uint8))
    chosen = choose_keyframes(recording(pictures, count), views)
    assert len(chosen) == min(count, views)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < count
    stride = count / len(chosen)
    even = (np.arange(len(chosen)) + 0.5) * stride - 0.5
    assert np.abs(chosen - even).max() <= stride / 2 + 1
    np.testing.assert_array_equal(chosen, choose_keyframes(recording(pictures, count), views))


def test_no_views_is_a_defect_of_the_caller() -> None:
    with pytest.raises(ValueError, match="max_views"):
        choose_keyframes(recording(_Unread(5), 5), 0)


def write_clip(path: Path, sharp: list[int], codec: str, count: int = 40) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height = 128, 96
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(checkers(0.0 if i in sharp else 3.0), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_video_and_its_pictures_agree(tmp_path: Path) -> None:
    sharp = [2, 14, 21, 38]
    video = open_recording(write_clip(tmp_path / "a.mp4", sharp, "libx264"))
    assert choose_keyframes(video, 4).tolist() == sharp
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(40):
        cv2.imwrite(str(folder / f"{i}.jpg"), checkers(0.0 if i in sharp else 3.0))
    assert choose_keyframes(open_recording(folder), 4).tolist() == sharp
    assert choose_keyframes(subset(video, np.arange(4, 40, 2)), 2).tolist() == [5, 17]


def test_a_frame_that_cannot_be_decoded_is_never_chosen(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", [14, 30], "mjpeg")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    assert data.count(packets[14]) == 2  # both sharp frames are the same picture
    path.write_bytes(data.replace(packets[14], b"\0" * len(packets[14]), 1))
    chosen = choose_keyframes(open_recording(path), 2)
    assert chosen[0] != 14
    assert chosen[1] == 30
