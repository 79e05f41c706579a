"""Pictures for people: clouds from outside, masks over frames. Drawn with numpy and numba alone, so they work on any
machine and are bit-identical.
"""

import io
from collections.abc import Sequence

import cv2
import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ovseg3r_model.point_features import reduced
from ovseg3r_model.records import Correspondence, Float16, Float32, Float64, Int32, Points, UInt8, UInt32, Views

BACKGROUND = np.array([24, 26, 30], np.uint8)


def id_colors(ids: NDArray[np.integer]) -> UInt8:
    """(...,3) uint8: a steady, well-spread colour for each id; 0 is dark grey."""
    hue = (ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)).astype(np.uint32)
    saturation, high = 110 + (hue // 180) % 110, 150 + (hue // 19800) % 106
    hue = hue % 180
    # whole numbers and no OpenCV, whose rounding depends on the picture's size: an id has one colour
    low = high * (255 - saturation) // 255
    ramp = (high - low) * (hue % 30) // 30
    rise, fall, sector = low + ramp, high - ramp, hue // 30
    red = np.choose(sector, [high, fall, low, low, rise, high])
    green = np.choose(sector, [rise, high, high, fall, low, low])
    blue = np.choose(sector, [low, low, rise, high, high, fall])
    rgb = np.stack([red, green, blue], axis=-1)
    out: UInt8 = np.where((ids == 0)[..., None], np.uint8(58), rgb).astype(np.uint8)
    return out


def overlay(rgb: UInt8, ids: UInt32, labels: dict[int, str]) -> UInt8:
    """A frame (H,W,3) with its id map (H,W) in colour, borders drawn, and each label written into its mask."""
    out = np.where((ids > 0)[..., None], 0.5 * rgb + 0.5 * id_colors(ids), rgb).astype(np.uint8)
    border = np.zeros(ids.shape, bool)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:] |= ids[1:] != ids[:-1]
    out[border] = 255
    picture = Image.fromarray(out)
    draw = ImageDraw.Draw(picture)
    for i in np.unique(ids[ids > 0]):
        inside = (ids == i).astype(np.uint8)
        distance = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        ridge = np.argwhere(distance == distance.max())
        y, x = ridge[np.abs(ridge - ridge.mean(axis=0)).sum(axis=1).argmin()]  # the middle of it, for the text's sake
        if distance[y, x] >= 5:
            draw.text(
                (int(x), int(y)), labels.get(int(i), ""), fill="white", stroke_fill="black", stroke_width=1, anchor="mm"
            )
    return np.asarray(picture)


def cloud(points: Points, colors: UInt8, views: Views, spacing: float, size: tuple[int, int] = (1600, 900)) -> UInt8:
    """The points in the given colours (N,3), as seen from behind and above the cameras, into the scene; (h,w,3) uint8.

    Up is the cameras' mean up. Surfaces that turn their back are not drawn: as normals point to the cameras that saw
    them, the walls and the ceiling between the onlooker and the room are open, as in a doll's house.
    """
    up = -views.world_from_camera[:, :3, 1].mean(axis=0)
    # cameras that roll every way have no common up
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 1e-3 else np.array([0.0, 0.0, 1.0])
    low, high = np.percentile(points.xyz, 1, axis=0), np.percentile(points.xyz, 99, axis=0)
    middle = (low + high) / 2
    radius = float(np.linalg.norm(high - low)) / 2
    forward = middle - views.world_from_camera[:, :3, 3].mean(axis=0)
    forward -= up * (forward @ up)
    if np.linalg.norm(forward) < 0.15 * radius:  # cameras all around: any side will do
        forward = views.world_from_camera[0, :3, 2] - up * (views.world_from_camera[0, :3, 2] @ up)
    if np.linalg.norm(forward) < 1e-6 * radius:
        forward = np.cross(up, [0.36, 0.48, 0.8])
    forward /= np.linalg.norm(forward)
    eye = middle - 1.55 * radius * forward + 1.05 * radius * up
    camera = look_at(eye, middle - 0.1 * radius * up, up)
    facing = np.einsum("nk,nk->n", points.normal.astype(np.float32), eye - points.xyz) > 0
    if not facing.any():
        return np.tile(BACKGROUND, (size[1], size[0], 1))
    xyz = points.xyz[facing]
    return splat(xyz, colors[facing], _framing(xyz, camera, size), camera, size, spacing)


def onlooker(points: Points) -> Views:
    """One upright camera in the middle of a scene that has none; z is up."""
    middle = points.xyz.mean(axis=0).astype(np.float64)
    pose = look_at(middle, middle + np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    size = np.array([[640, 480]], np.int64)
    return Views(np.eye(3)[None], pose[None], size, np.zeros(1, np.int64), np.full(1, np.nan))


def with_legend(picture: UInt8, entries: Sequence[tuple[int, str]]) -> UInt8:
    """The picture (h,w,3) with texts, each behind a square in the colour of its id, down its left side."""
    drawn = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawn)
    for row, (number, text) in enumerate(entries):
        top = 14 + 26 * row
        pen.rectangle((14, top, 32, top + 18), fill=tuple(id_colors(np.array([number]))[0].tolist()))
        pen.text((42, top + 9), text, fill="white", stroke_fill="black", stroke_width=1, anchor="lm", font_size=17)
    return np.asarray(drawn)


def _framing(xyz: Float32, world_from_camera: Float64, size: tuple[int, int]) -> Float64:
    """Intrinsics (3,3) that fill the picture with all but the outermost of the points."""
    local = (xyz - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    plane = local[:, :2] / np.maximum(local[:, 2:], 1e-6)
    low, high = np.percentile(plane, 0.5, axis=0), np.percentile(plane, 99.5, axis=0)
    focal = 0.92 * float(np.min(np.array(size) / np.maximum(high - low, 1e-9)))
    center = (np.array(size) - 1) / 2 - focal * (low + high) / 2
    return np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])


def look_at(eye: Float64, target: Float64, up: Float64) -> Float64:
    """world_from_camera (4,4) of an OpenCV camera at ``eye`` that looks at ``target`` with ``up`` upwards in the
    picture.
    """
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, up)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :4] = np.stack([x, np.cross(z, x), z, eye], axis=1)
    return out


def splat(
    xyz: Float32, rgb: UInt8, intrinsics: Float64, world_from_camera: Float64, size: tuple[int, int], spacing: float
) -> UInt8:
    """Draws points (N,3) as squares of ``spacing`` (their distance in the world) through a camera; (h,w,3) uint8."""
    r, t = world_from_camera[:3, :3], world_from_camera[:3, 3]
    local = (xyz - t) @ r
    out = np.tile(BACKGROUND, (size[1], size[0], 1))
    depth = np.full((size[1], size[0]), np.inf, np.float32)
    _splat(local.astype(np.float32), np.ascontiguousarray(rgb), intrinsics, np.float32(spacing), out, depth)
    return out


@numba.njit(cache=True)
def _splat(local, rgb, k, spacing, out, depth):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for i in range(len(local)):
        z = local[i, 2]
        if z <= 1e-6:
            continue
        x, y = k[0, 0] * local[i, 0] / z + k[0, 2], k[1, 1] * local[i, 1] / z + k[1, 2]
        half = max(0.75 * spacing * k[0, 0] / z, 0.5)  # never less than a pixel
        for v in range(max(0, int(np.ceil(y - half))), min(height - 1, int(np.floor(y + half))) + 1):
            for u in range(max(0, int(np.ceil(x - half))), min(width - 1, int(np.floor(x + half))) + 1):
                if z < depth[v, u]:
                    depth[v, u] = z
                    out[v, u] = rgb[i]


def trajectory(
    estimate: Float64, reference: Float64, up: Float64, unit: str, size: tuple[int, int] = (900, 900)
) -> UInt8:
    """Camera positions (V,3) of the same pictures from above, against ``up``; (h,w,3) uint8.

    The reference is drawn grey, the estimate orange, and a red line leads from each to the other. The bar is one, or a
    power of ten, ``unit`` long.
    """
    x = np.cross(up, [0.36, 0.48, 0.8])
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(x, up / np.linalg.norm(up))], axis=1)  # y downwards in the picture
    flat = np.stack([reference @ axes, estimate @ axes])
    low, high = flat.min(axis=(0, 1)), flat.max(axis=(0, 1))
    extent = max(float((high - low).max()), 1e-9)
    drawn = (flat - (low + high) / 2) * (0.85 * min(size) / extent) + np.array(size) / 2
    picture = Image.new("RGB", size, tuple(BACKGROUND.tolist()))
    pen = ImageDraw.Draw(picture)
    there, here = ([(float(a), float(b)) for a, b in path] for path in drawn)
    for pair in zip(there, here, strict=True):
        pen.line(pair, fill=(230, 60, 60), width=2)
    # the reference is broader, so that it shows under an estimate without error
    for path, color, broad in ((there, (150, 150, 155), 7), (here, (255, 165, 60), 2)):
        pen.line(path, fill=color, width=broad)
        for a, b in path:
            pen.ellipse((a - broad, b - broad, a + broad, b + broad), fill=color)
        a, b = path[0]
        pen.ellipse((a - 12, b - 12, a + 12, b + 12), outline=color, width=2)
    bar = 10.0 ** np.floor(np.log10(extent / 2))
    end = 20 + bar * 0.85 * min(size) / extent
    pen.line([(20, size[1] - 20), (end, size[1] - 20)], fill="white", width=3)
    pen.text((20, size[1] - 40), f"{bar:g} {unit}", fill="white")
    pen.text(
        (20, 14), "grey: reference   orange: estimate, aligned   ring: first keyframe   seen from above", fill="white"
    )
    return np.asarray(picture)


def shaded(points: Points, colors: UInt8) -> UInt8:
    """Colours (N,3) darkened by the angle to a light over the left shoulder, so that shape shows in flat colours."""
    light = np.array([0.4, 0.5, 0.77], np.float32)
    lambert = 0.55 + 0.45 * np.abs(points.normal.astype(np.float32) @ light)
    out: UInt8 = (colors * lambert[:, None]).astype(np.uint8)
    return out


def point_instances(correspondence: Correspondence, observation: UInt32, points: int) -> UInt32:
    """(N,) uint32, for pictures only: the instance of each point's first labelled observation, 0 without one."""
    out = np.zeros(points, np.uint32)
    labelled = np.flatnonzero(observation)[::-1]  # reversed, so that the first one is written last
    out[correspondence.point()[labelled]] = observation[labelled]
    return out


def superpoint_colors(superpoint: Int32) -> UInt8:
    """(N,3) uint8."""
    return id_colors(superpoint.astype(np.int64) + 1)


def feature_colors(features: Float16) -> UInt8:
    """(N,3) uint8: the three directions in which features (N,C) differ most as red, green and blue; like is like."""
    main = reduced(features, 3)[0].astype(np.float32)[:, :3]
    low, high = np.percentile(main, (2, 98), axis=0)
    scaled = np.clip((main - low) / np.maximum(high - low, 1e-6), 0, 1)
    rgb: UInt8 = np.zeros((len(features), 3), np.uint8)
    rgb[:, : scaled.shape[1]] = np.rint(255 * scaled)
    return rgb


def png(rgb: UInt8) -> bytes:
    """The picture as PNG bytes."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()
