"""Which frames a video file holds: its packets are listed, and decoded only where the list cannot be trusted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from ovseg3r_model.errors import InputError
from ovseg3r_model.limits import MAX_PIXELS
from ovseg3r_model.records import Float64, Int64

# Only containers of films, read from this very file: a playlist with a film's name must not make FFmpeg open other
# files.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,h264,hevc,m4v,mpegvideo,mjpeg,gif,ivf,mxf,nut",
}
# A film whose header promises this many seconds more than can be read was cut off.
_SHORTFALL = 0.5


@dataclass(frozen=True)
class FrameIndex:
    """The F frames that can be decoded.

    stamps: (F,) int64 presentation time stamps, strictly increasing; None where the file has none, then frames are
    counted.
    keys: (K,) int64, increasing: the frames at which decoding can start.
    time: (F,) float64 seconds from the first frame; nan where neither stamps nor a frame rate are known.
    """

    stamps: Int64 | None
    keys: Int64
    time: Float64

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class _Listing:
    """What the packets say: stamps (P,) sorted or None, of which keys (K,) begin a group; the length of a tick;
    was the end missing?"""

    stamps: Int64 | None
    keys: Int64
    tick: float
    broken: bool


def index_video(path: Path) -> tuple[FrameIndex, Any, tuple[str, ...]]:
    """The frames of the first video stream, the first of them as PyAV decoded it, and notes for the user.

    What cannot be decoded before the first good frame and after the last key frame is left out; damage in between
    is found when that frame is read. Raises InputError.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        listing = _list_packets(container, stream)
        promised = _promised_seconds(container, stream)
        square = stream.sample_aspect_ratio in (None, 0, 1)
    first = _first_frame(path)
    stamps = listing.stamps
    known = stamps is not None and first.pts is not None and bool(np.isin(first.pts, stamps))
    index = _trimmed(path, first.pts, stamps, listing) if known and stamps is not None else _counted(path)
    notes = _ending(index, listing, promised)
    if not square:
        notes += ("The video's pixels are not square: its horizontal and vertical focal lengths differ.",)
    return index, first, notes


def open_container(path: Path) -> Any:
    """The file, opened by PyAV as what it is whatever its name says. Raises InputError."""
    try:
        return av.open(str(path), options=dict(_OPTIONS))
    except FFmpegError as error:
        raise InputError(_why_not(path, error)) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read.") from error


def _why_not(path: Path, error: FFmpegError) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as unreadable:
        return f"{path}: cannot be read ({unreadable.strerror}); check that it is a file you may read."
    if not head:
        return f"{path}: is empty (0 bytes); copy it again from the camera."
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"):
        return (
            f"{path}: the video was cut off: its index (the moov atom) is missing or incomplete; copy it again from "
            "the camera, or repair it with a tool such as untrunc."
        )
    return f"{path}: is no video that can be read ({error.strerror}); give an mp4, mov or mkv file."


def video_stream(container: Any, path: Path) -> Any:
    """The first video stream; a cover picture of an audio file is none."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise InputError(f"{path}: holds no video stream; give a file with pictures in it.")
    width, height = streams[0].codec_context.width, streams[0].codec_context.height
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: frames of {width}x{height} are more than {MAX_PIXELS // 1_000_000} megapixels; re-encode the "
            "video smaller."
        )
    return streams[0]


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Every frame that decodes, from where the container stands; damaged packets are passed over, a broken end
    ends it."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            packet = None
        if packet is not None and packet.size == 0 and packet.dts is not None:
            continue  # a repeated frame; the decoder would take it for the end
        try:
            # None empties the decoder of what it holds back for reordering; so does the empty packet that ends the
            # file.
            frames = stream.decode(packet)
        except (FFmpegError, EOFError):
            frames = []
        yield from frames
        if packet is None or packet.size == 0:
            return


def _list_packets(container: Any, stream: Any) -> _Listing:
    stamps: list[int | None] = []
    keys: list[int | None] = []
    broken = False
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                stamps.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
    except FFmpegError:
        broken = True
    tick = float(stream.time_base or 0)
    known, known_keys = ([s for s in values if s is not None] for values in (stamps, keys))
    if len(known) < len(stamps) or not known or not tick:
        return _Listing(None, np.zeros(0, np.int64), tick, broken)
    return _Listing(np.unique(np.array(known, np.int64)), np.unique(np.array(known_keys, np.int64)), tick, broken)


def _first_frame(path: Path) -> Any:
    with open_container(path) as container:
        frame = next(decoded(container, video_stream(container, path)), None)
    if frame is None:
        raise InputError(f"{path}: not one frame can be decoded; copy the video again or re-encode it with ffmpeg.")
    return frame


def _trimmed(path: Path, first: int, listed: Int64, listing: _Listing) -> FrameIndex:
    """The ``listed`` stamps from ``first`` on, without those after the last key frame that do not decode."""
    stamps = listed[listed >= first]
    keys = np.unique(np.append(listing.keys[listing.keys >= first], first))
    decoding = _stamps_at_the_end(path, keys)
    stamps = stamps[(stamps < decoding.min()) | np.isin(stamps, decoding)]
    keys = keys[np.isin(keys, stamps)]
    return FrameIndex(stamps, np.searchsorted(stamps, keys).astype(np.int64), (stamps - stamps[0]) * listing.tick)


def _stamps_at_the_end(path: Path, keys: Int64) -> Int64:
    """The stamps that come out of the decoder from the last key frame on, or from an earlier frame."""
    # In some containers a seek lands a key frame late, and a cut may fall into the last one: then from farther back.
    starts = [int(keys[-back]) for back in (1, 3) if back < len(keys)]
    for start in [*starts, None]:
        with open_container(path) as container:
            stream = video_stream(container, path)
            stream.thread_type = "AUTO"
            if start is not None:
                container.seek(start, stream=stream)
            stamps = np.array([frame.pts for frame in decoded(container, stream) if frame.pts is not None], np.int64)
        if len(stamps) and (start is None or stamps.min() <= keys[-1]):
            return stamps
    raise InputError(f"{path}: changed while it was read; leave the file alone and start again.")


def _counted(path: Path) -> FrameIndex:
    """For files without usable stamps: everything is decoded once to count it."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate
        count = sum(1 for _ in decoded(container, stream))
    time = np.arange(count) / float(rate) if rate else np.full(count, np.nan)
    return FrameIndex(None, np.zeros(0, np.int64), time)


def _promised_seconds(container: Any, stream: Any) -> float:
    """The length that the header states, 0 when it states none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float((container.duration or 0) / av.time_base)


def _ending(index: FrameIndex, listing: _Listing, promised: float) -> tuple[str, ...]:
    readable = float(index.time[-1])
    step = readable / max(1, len(index) - 1)
    if listing.broken or (len(index) > 1 and promised - readable - step > max(_SHORTFALL, step)):
        return (
            f"The video breaks off: its header promises {promised:.1f} s, {readable:.1f} s ({len(index)} frames) "
            "can be read.",
        )
    return ()
