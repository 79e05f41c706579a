"""A room on disk: a posed RGB-D recording, its 2D masks, the truth, and the video, frame by frame."""

import json
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av
import numpy as np
from pycocotools import mask as coco_mask

from ovseg3r_model.records import UInt8, UInt32, ViewMasks
from ovseg3r_model.rooms.layouts import WRITERS, Layout, Target
from ovseg3r_model.rooms.mask_errors import corrupt
from ovseg3r_model.rooms.render import DEFAULT_SIZE, default_intrinsics, render
from ovseg3r_model.rooms.room import Room
from ovseg3r_model.rooms.walk import walk
from ovseg3r_model.settings import MaskErrors


@dataclass(frozen=True)
class RoomFiles:
    """What ``write_room`` wrote. recording: folder of the posed RGB-D recording; masks: COCO instances JSON; truth:
    JSON; truth_ids: npz with ``ids`` (V,H,W) uint32 and ``world_from_camera`` (V,4,4) float64; video: MP4, or None."""

    folder: Path
    recording: Path
    masks: Path
    truth: Path
    truth_ids: Path
    video: Path | None


def write_room(
    room: Room,
    folder: Path,
    layout: Layout = "7scenes",
    n_views: int = 100,
    seed: int = 0,
    errors: MaskErrors | None = None,
    depth_noise: float = 0.0,
    size: tuple[int, int] = DEFAULT_SIZE,
    video: bool = False,
    jpeg: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> RoomFiles:
    """Renders a walk of ``n_views`` views and writes it under ``folder``, one frame in memory at a time.

    layout: how ``recording/`` is laid out. errors: of the 2D masks; None for none. depth_noise: see ``render``. video:
    also ``video.mp4`` of the colour frames, 30 a second (odd sizes lose their last row or column). jpeg: colour as
    JPEG instead of PNG (ScanNet's is always JPEG). progress: called with (frames done, frames in all). Same arguments,
    same bytes in every file. Raises ValueError for an unknown layout or a size that is not positive, FileExistsError
    when ``folder`` holds a recording already.
    """
    if layout not in WRITERS:
        raise ValueError(f"layout must be one of {', '.join(WRITERS)}, not {layout}")
    poses = walk(room, n_views, seed)
    intrinsics = default_intrinsics(size)
    files = RoomFiles(
        folder,
        folder / "recording",
        folder / "masks.json",
        folder / "truth.json",
        folder / "truth_ids.npz",
        folder / "video.mp4" if video else None,
    )
    files.recording.mkdir(parents=True)
    writer = WRITERS[layout](Target(files.recording, size, intrinsics, jpeg))
    coco = _Coco()
    with ExitStack() as stack:
        truth_ids = stack.enter_context(_IdMaps(files.truth_ids, (n_views, size[1], size[0]), poses))
        film = stack.enter_context(_Film(files.video, size)) if files.video else None
        for index, pose in enumerate(poses):
            view = render(room, intrinsics, size, pose, depth_noise, seed=seed * 1_000_003 + index)
            name = writer.frame(index, view, pose)
            coco.add(name, corrupt(view.ids, room.instances, errors or MaskErrors.none(), seed * 1_000_003 + index))
            truth_ids.add(view.ids)
            if film:
                film.add(view.rgb)
            if progress:
                progress(index + 1, n_views)
    writer.finish()
    files.masks.write_text(json.dumps(coco.document()) + "\n")
    files.truth.write_text(json.dumps(_truth(room, layout, seed, errors, depth_noise), indent=1) + "\n")
    return files


def _truth(room: Room, layout: Layout, seed: int, errors: MaskErrors | None, depth_noise: float) -> dict[str, Any]:
    return {
        "seed": room.seed,
        "walk_seed": seed,
        "layout": layout,
        "size": [float(v) for v in room.size],
        "depth_noise": depth_noise,
        "mask_errors": (errors or MaskErrors.none()).model_dump(),
        "instances": [asdict(i) for i in room.instances],
    }


class _Coco:
    """A COCO instances document under construction."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories: dict[str, int] = {}

    def add(self, file_name: str, masks: ViewMasks) -> None:
        height, width = masks.ids.shape
        image = len(self.images) + 1
        self.images.append({"id": image, "file_name": file_name, "width": width, "height": height})
        for k, (label, score) in enumerate(zip(masks.labels, masks.scores, strict=True)):
            code = coco_mask.encode(np.asfortranarray(masks.ids == k + 1, dtype=np.uint8))
            self.annotations.append({
                "id": len(self.annotations) + 1,
                "image_id": image,
                "category_id": self.categories.setdefault(label, len(self.categories) + 1),
                "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
                "bbox": [float(v) for v in coco_mask.toBbox(code)],
                "area": int(coco_mask.area(code)),
                "iscrowd": 0,
                "score": round(float(score), 4),
            })  # fmt: skip

    def document(self) -> dict[str, Any]:
        categories = [{"id": number, "name": name} for name, number in self.categories.items()]
        return {"images": self.images, "annotations": self.annotations, "categories": categories}


class _IdMaps:
    """An npz whose one large array is written view by view."""

    def __init__(self, path: Path, shape: tuple[int, int, int], poses: np.ndarray) -> None:
        self.path, self.shape, self.poses = path, shape, poses

    def __enter__(self) -> "_IdMaps":
        self.archive = zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, compresslevel=4)
        with self._entry("world_from_camera") as entry:
            np.lib.format.write_array(entry, self.poses)
        self.ids = self._entry("ids")
        np.lib.format.write_array_header_1_0(self.ids, {"descr": "<u4", "fortran_order": False, "shape": self.shape})
        return self

    def _entry(self, name: str) -> IO[bytes]:
        # A ZipInfo without a date, or the same room would give other bytes tomorrow.
        info = zipfile.ZipInfo(f"{name}.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        return self.archive.open(info, "w", force_zip64=True)

    def add(self, ids: UInt32) -> None:
        self.ids.write(np.ascontiguousarray(ids, "<u4").tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ids.close()
        self.archive.close()


class _Film:
    """An MP4 of good quality: H.264 where the encoder is there, else MPEG-4."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path, self.size = path, (size[0] // 2 * 2, size[1] // 2 * 2)

    def __enter__(self) -> "_Film":
        self.container = av.open(str(self.path), "w", options={"fflags": "+bitexact"})
        h264 = "libx264" in av.codecs_available
        self.stream = self.container.add_stream("libx264" if h264 else "mpeg4", rate=30)
        self.stream.width, self.stream.height, self.stream.pix_fmt = *self.size, "yuv420p"
        # One thread: with more, the encoder's rate control, and so the bytes, could depend on timing.
        context = self.stream.codec_context
        context.thread_count = 1
        context.time_base = Fraction(1, 30)
        self.stream.options = (
            {"crf": "16", "preset": "fast", "flags": "+bitexact"}
            if h264
            else {"flags": "+bitexact", "qmin": "1", "qmax": "3"}
        )
        if not h264:
            context.bit_rate = 20_000_000
        return self

    def add(self, rgb: UInt8) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[: self.size[1], : self.size[0]]), format="rgb24")
        self.container.mux(self.stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.container.mux(self.stream.encode(None))
        self.container.close()
