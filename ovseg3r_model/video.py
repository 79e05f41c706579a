"""Videos through PyAV, read forwards with a cursor.

A frame's index is its place in the order in which the decoder gives frames, which is the order of their time stamps.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideData

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Bool, Recording, UInt8
from ovseg3r_model.video_index import FrameIndex, decoded, index_video, open_container, video_stream

# A jump over fewer frames than this is decoded through: cheaper than filling the decoder again.
_WORTH_SEEKING = 8


@dataclass(frozen=True)
class Turn:
    """The display matrix reduced to right angles: transpose first, then mirror columns and rows."""

    transpose: bool = False
    mirror_columns: bool = False
    mirror_rows: bool = False

    def apply(self, pixels: UInt8) -> UInt8:
        pixels = pixels.transpose(1, 0, 2) if self.transpose else pixels
        step = (-1 if self.mirror_rows else 1, -1 if self.mirror_columns else 1)
        return np.ascontiguousarray(pixels[:: step[0], :: step[1]])


def open_video(path: Path) -> Recording:
    """The frames of a file's first video stream, upright as its display matrix says; times from its time stamps;
    no cameras.

    Cheap: packets are listed, not decoded, except for the first frame and those after the last key frame. What
    cannot be decoded at the beginning and the end is left out; a note says when the file ends before its header
    says.
    Raises InputError: not a video, no index (a cut-off mp4), no video stream, nothing that decodes, frames over
    100 megapixels.
    """
    index, first, notes = index_video(path)
    turn = _turn(first)
    size = (first.height, first.width) if turn.transpose else (first.width, first.height)
    return Recording(
        source_format="video",
        names=tuple(f"frame-{i:06d}" for i in range(len(index))),
        frame=np.arange(len(index), dtype=np.int64),
        time=index.time,
        color=VideoFrames(path, index, turn, size),
        size=size,
        notes=notes,
    )


class VideoFrames:
    """The frames of one video, (H,W,3) uint8 RGB each, decoded when asked for; safe to share between threads.

    Increasing indices decode forwards once; a far jump or one backwards starts at the key frame before. Indexing
    raises InputError for a frame inside the video that cannot be decoded.
    """

    def __init__(self, path: Path, index: FrameIndex, turn: Turn, size: tuple[int, int]) -> None:
        self._path, self._index, self._turn, self._size = path, index, turn, size
        self._cursor: _Cursor | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the file for itself.
        return VideoFrames, (self._path, self._index, self._turn, self._size)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int, /) -> UInt8:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        with self._lock:
            frame = self._find(index % len(self))
            pixels = self._turn.apply(frame.to_ndarray(format="rgb24"))
        if (pixels.shape[1], pixels.shape[0]) != self._size:
            raise InputError(
                f"{self._path}: frame {index} has another size than the first; re-encode the video at one size."
            )
        return pixels

    def greys(self, width: int, wanted: Bool) -> Iterator[tuple[int, UInt8]]:
        """(index, (h,w) uint8) of the frames ``wanted`` (F,), at most ``width`` wide and not turned, in one decode
        of the video. Frames that cannot be decoded are passed over."""
        last = int(np.flatnonzero(wanted).max(initial=-1))
        with _Cursor(self._path, self._index) as cursor:
            for index, frame in cursor:
                if index > last:
                    return
                if wanted[index]:
                    small = min(width, frame.width)
                    height = max(1, round(frame.height * small / frame.width))
                    yield index, frame.reformat(small, height, "gray", interpolation="AREA").to_ndarray()

    def _find(self, index: int) -> Any:
        cursor = self._cursor or _Cursor(self._path, self._index)
        self._cursor = cursor
        if cursor.current is not None and cursor.current[0] == index:
            return cursor.current[1]
        # In some containers a seek lands a key frame late: then from farther back, and at last from the start.
        for back in (0, 2, None):
            at_target = cursor.approach(index, back)
            frame = cursor.forward_to(index)
            if frame is not None or at_target:
                break
        if frame is None:
            raise InputError(
                f"{self._path}: frame {index} cannot be decoded, the file is damaged there; re-encode it with ffmpeg."
            )
        return frame


class _Cursor:
    """Decodes forwards and says which frame each one is."""

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self._path, self._index = path, index
        self.restart()

    def restart(self) -> None:
        self.close()
        self._container = open_container(self._path)
        self._stream = video_stream(self._container, self._path)
        self._stream.thread_type = "AUTO"
        self._frames = decoded(self._container, self._stream)
        self._next = 0
        self.current: tuple[int, Any] | None = None

    def approach(self, index: int, back: int | None) -> bool:
        """Move to where decoding forwards reaches ``index`` soonest, or ``back`` key frames before, None: to the start.

        Returns whether ``index`` surely lies ahead; a seek may have missed it.
        """
        position = -1 if back is None else int(np.searchsorted(self._index.keys, index, side="right")) - 1 - back
        key = int(self._index.keys[position]) if position > 0 else 0
        if self._next <= index and key < self._next + _WORTH_SEEKING:
            return True
        if self._index.stamps is None or key == 0:
            self.restart()
            return True
        self._container.seek(int(self._index.stamps[key]), stream=self._stream)
        self._frames = decoded(self._container, self._stream)
        self._next, self.current = key, None
        return False

    def forward_to(self, index: int) -> Any:
        """The frame ``index`` by decoding on; None when it does not come."""
        for found, frame in self:
            if found >= index:
                return frame if found == index else None
        return None

    def close(self) -> None:
        container = getattr(self, "_container", None)
        if container is not None:
            container.close()

    def __iter__(self) -> "_Cursor":
        return self

    def __next__(self) -> tuple[int, Any]:
        for frame in self._frames:
            index = self._place(frame)
            if index is not None:
                self._next, self.current = index + 1, (index, frame)
                return index, frame
        # Nothing lies ahead any more: whatever is asked for next is behind.
        self._next, self.current = len(self._index), None
        raise StopIteration

    def __enter__(self) -> "_Cursor":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _place(self, frame: Any) -> int | None:
        """The frame's index; None for one that the index leaves out."""
        stamps = self._index.stamps
        if stamps is None:
            return self._next if self._next < len(self._index) else None
        if frame.pts is None:
            return None
        index = int(np.searchsorted(stamps, frame.pts))
        return index if index < len(stamps) and stamps[index] == frame.pts else None


def _turn(frame: Any) -> Turn:
    """The display matrix takes stored (x, y) to shown (a x + c y, b x + d y); phones write quarter turns, cameras
    for selfies mirrors."""
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return Turn()
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)
