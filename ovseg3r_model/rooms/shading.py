"""The kernels that colour a point of a surface. Patterns are numbered by ``textures.Pattern``."""

from typing import Any

import numba
import numpy as np


def kernel(function: Any) -> Any:
    """Compiles without fast-math and without reductions over threads: a pixel has one value, whatever the machine
    does.
    """
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


@kernel
def _hash(ix: int, iy: int, iz: int, seed: int) -> Any:
    h = (ix * 0x8DA6B343) ^ (iy * 0xD8163841) ^ (iz * 0xCB1AB31F) ^ (seed * 0x9E3779B1)
    h &= 0xFFFFFFFF
    h ^= h >> 15
    h = (h * 0x2C1B3C6D) & 0xFFFFFFFF
    h ^= h >> 12
    h = (h * 0x297A2D39) & 0xFFFFFFFF
    h ^= h >> 15
    return h / 2147483648.0 - 1.0


@kernel
def _noise(x: float, y: float, z: float, seed: int) -> Any:
    """Value noise in [-1, 1] on the unit lattice."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    ix, iy, iz = int(fx), int(fy), int(fz)
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3 - 2 * x), y * y * (3 - 2 * y), z * z * (3 - 2 * z)
    low = (_hash(ix, iy, iz, seed) * (1 - x) + _hash(ix + 1, iy, iz, seed) * x) * (1 - y) + (
        _hash(ix, iy + 1, iz, seed) * (1 - x) + _hash(ix + 1, iy + 1, iz, seed) * x
    ) * y
    high = (_hash(ix, iy, iz + 1, seed) * (1 - x) + _hash(ix + 1, iy, iz + 1, seed) * x) * (1 - y) + (
        _hash(ix, iy + 1, iz + 1, seed) * (1 - x) + _hash(ix + 1, iy + 1, iz + 1, seed) * x
    ) * y
    return low * (1 - z) + high * z


@kernel
def _fbm(x: float, y: float, z: float, seed: int, size: float, octaves: int, foot: float) -> Any:
    """Octaves of noise from lattice spacing ``size`` down, none finer than 6 mm nor than a pixel; mostly in [-1, 1]."""
    total, norm, amplitude = 0.0, 0.0, 1.0
    for k in range(octaves):
        norm += amplitude * amplitude
        weight = min(1.0, max(0.0, (0.9 - foot / size) / 0.5))
        if weight > 0.0:
            offset = 17.31 * k + 0.37
            total += amplitude * weight * _noise(x / size + offset, y / size + offset, z / size + offset, seed + k)
        amplitude *= 0.8
        size *= 0.5
        if size < 0.006:
            break
    return 1.5 * total / np.sqrt(norm)


@kernel
def _soft(value: float, width: float) -> Any:
    """A step at 0 from 0 to 1, ``width`` wide."""
    return min(1.0, max(0.0, 0.5 + value / width))


@kernel
def _square(value: float, period: float, foot: float) -> Any:
    """A square wave in [0, 1] with edges a footprint wide, faded to its mean where the camera could not resolve it."""
    phase = value / period - np.floor(value / period)
    wave = _soft((0.25 - abs(phase - 0.5)) * period, max(foot, 0.002))
    fade = min(1.0, max(0.0, (0.8 - 2 * foot / period) / 0.4))
    return 0.5 + (wave - 0.5) * fade


@kernel
def _mix(a: Any, b: Any, t: float) -> Any:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


@kernel
def _times(a: Any, f: float) -> Any:
    return a[0] * f, a[1] * f, a[2] * f


@kernel
def solid_colour(
    pattern: int,
    x: float,
    y: float,
    z: float,
    a: float,
    b: float,
    ha: float,
    hb: float,
    c0: Any,
    c1: Any,
    scale: float,
    seed: int,
    foot: float,
) -> Any:
    """RGB of a solid at local (x, y, z); (a, b) are coordinates on its face, from the centre of a face of half size
    (ha, hb).
    """
    grain = _fbm(x, y, z, seed, scale, 4, foot)
    if pattern == 1:  # wood: rings stretched along the longer side of the face
        along, across = (a, b) if ha >= hb else (b, a)
        ring = _fbm(along * 0.18, across, z * 0.3 + x * 0.05, seed + 11, scale * 0.45, 3, foot)
        tone = _mix(c0, c1, _soft(ring, 1.6))
        return _times(tone, 1 + 0.2 * grain)
    if pattern == 2:  # checks
        mark = 0.5 * (_square(a, scale * 2, foot) + _square(b, scale * 2, foot))
        return _times(_mix(c0, c1, mark), 1 + 0.3 * grain)
    if pattern == 3:  # stripes
        return _times(_mix(c0, c1, _square(a + 0.015 * grain, scale * 1.6, foot)), 1 + 0.28 * grain)
    if pattern == 4:  # wallpaper and plaster: warped blotches
        warp = 0.03 * _noise(x / 0.09, y / 0.09, z / 0.09, seed + 5)
        blot = _fbm(x + warp, y - warp, z + warp, seed + 21, scale, 4, foot)
        return _times(_mix(c0, c1, _soft(blot - 0.15, 0.8)), 1 + 0.14 * grain)
    if pattern == 5:  # planks, 14 cm wide, of random tone
        row = np.floor(b / 0.14)
        shift = 0.7 * _hash(int(row), 3, 7, seed)
        plank = np.floor((a + shift) / 1.1)
        tone = 1 + 0.22 * _hash(int(row), int(plank), 1, seed)
        ring = _fbm(a * 0.2 + plank * 3.1, b + row * 1.7, 0.0, seed + 3, 0.03, 3, foot)
        edge_b = min(b - row * 0.14, (row + 1) * 0.14 - b)
        edge_a = min(a + shift - plank * 1.1, (plank + 1) * 1.1 - a - shift)
        gap = _soft(min(edge_a, edge_b) - 0.003, max(0.002, foot))
        return _times(_mix(c0, c1, _soft(ring, 1.7)), tone * (0.45 + 0.55 * gap) * (1 + 0.17 * grain))
    if pattern == 6:  # metal
        return _times(_mix(c0, c1, 0.5 + 0.5 * grain), 1.0)
    if pattern == 7:  # printed cover: a title block and lines of text
        line = _square(b + hb, max(0.012, 0.18 * hb), foot) * _soft(
            _noise(a / 0.012, np.floor((b + hb) / max(0.012, 0.18 * hb)), 1.0, seed), 0.4
        )
        inside = _soft(0.75 * ha - abs(a), max(foot, 0.002)) * _soft(0.7 * hb - abs(b), max(foot, 0.002))
        return _times(_mix(c0, c1, 0.9 * line * inside), 1 + 0.3 * grain)
    if pattern == 8:  # a screen with windows on it
        edge = _soft(min(ha - abs(a), hb - abs(b)) - 0.012, max(foot, 0.003))
        window = _soft(_noise(np.floor(a / 0.09), np.floor(b / 0.06), 2.0, seed), 0.3)
        text = _square(b, 0.016, foot) * _soft(_noise(a / 0.01, np.floor(b / 0.016), 5.0, seed), 0.5)
        picture = _times(_mix(c0, c1, window), 1 - 0.55 * text)
        return _times(_mix((0.06, 0.06, 0.07), picture, edge), 1 + 0.12 * grain)
    if pattern == 9:  # rows of keys
        key = _square(a + 0.004 * np.floor(b / 0.019), 0.019, foot) * _square(b, 0.019, foot)
        return _times(_mix(c0, c1, key), 1 + 0.25 * grain)
    if pattern == 10:  # leaves
        vein = _fbm(x, y, z * 0.6, seed + 9, 0.04, 3, foot)
        return _times(_mix(c0, c1, _soft(vein, 0.5)), 1 + 0.35 * grain)
    if pattern == 11:  # doors or drawers: a frame line round every panel of the face, wood or paint inside
        rim = min(ha - abs(a), hb - abs(b))
        line = _soft(abs(rim - 0.035) - 0.004, max(foot, 0.003))
        ring = _fbm(a, b * 0.25, z * 0.2, seed + 11, scale * 0.6, 3, foot)
        return _times(_mix(c0, c1, _soft(ring, 1.8)), (0.5 + 0.5 * line) * (1 + 0.18 * grain))
    return _mix(c0, c1, _soft(grain, 1.1))


@kernel
def flat_colour(
    pattern: int, a: float, b: float, ha: float, hb: float, c0: Any, c1: Any, seed: int, foot: float
) -> Any:
    """RGB of a flat thing of half size (ha, hb) at (a, b) from its centre, metres; b goes up on a wall."""
    speck = _fbm(a, b, 0.0, seed, 0.025, 3, foot)
    rim = min(ha - abs(a), hb - abs(b))
    blur = max(foot, 0.002)
    white = (0.93, 0.93, 0.9)
    ink = (0.12, 0.12, 0.16)
    if pattern == 20 or pattern == 29:  # picture and poster: hills, sky and blots
        hill = b / hb + 0.9 * _fbm(a, 0.0, 0.0, seed + 2, 0.5 * ha, 3, 0.0) + 0.1
        blot = _fbm(a, b, 3.0, seed + 4, 0.3 * hb, 4, foot)
        scene = _mix(
            _mix(c0, c1, _soft(blot, 0.7)), _mix((0.55, 0.72, 0.9), white, _soft(blot, 0.9)), _soft(hill, 0.08)
        )
        if pattern == 29:
            title = _soft(0.16 * hb - abs(b + 0.72 * hb), blur) * _soft(
                _noise(a / (0.12 * ha), 0.5, 0.5, seed + 6), 0.15
            )
            return _times(_mix(scene, ink, title), 1 + 0.1 * speck)
        frame = _soft(0.03 - rim, blur)
        mat = _soft(0.06 - rim, blur) - frame
        return _times(_mix(_mix(scene, white, mat), (0.25, 0.16, 0.1), frame), 1 + 0.18 * speck)
    if pattern == 21:  # paper: words in lines
        row = np.floor((b + hb) / 0.014)
        word = (
            _soft(_noise(a / 0.012, row * 3.3, 0.5, seed) + 0.35, 0.3)
            * _square(b + hb, 0.014, foot)
            * _soft(rim - 0.02, blur)
        )
        return _times(_mix(white, ink, 0.85 * word), 1 + 0.06 * speck)
    if pattern == 22:  # calendar: a picture above, days below
        if b > 0.05 * hb:
            return _times(_mix(c0, c1, _soft(_fbm(a, b, 0.0, seed + 3, 0.06, 4, foot), 0.7)), 1.0)
        grid = max(_square(a, 2 * ha / 7, foot), _square(b, 2 * hb / 10, foot))
        return _times(_mix(white, ink, 0.8 * (1 - grid)), 1 + 0.08 * speck)
    if pattern == 23:  # rug: border, medallions, pile
        ring = _square(rim, 0.16, foot) if rim < 0.24 else _square(abs(a) + abs(b), 0.3, foot)
        medal = _soft(_fbm(abs(a), abs(b), 0.0, seed + 3, 0.12, 3, foot), 0.4)
        return _times(_mix(_mix(c0, c1, ring), (0.85, 0.78, 0.62), 0.7 * medal), 1 + 0.3 * speck)
    if pattern == 24:  # socket: two pins in a round well
        radius = np.sqrt(a * a + b * b)
        well = _soft(0.6 * ha - radius, blur)
        pin = _soft(0.13 * ha - np.sqrt((abs(a) - 0.25 * ha) ** 2 + b * b), blur)
        edge = _soft(0.1 * ha - rim, blur)
        return _times(
            _mix(_mix(_mix(white, (0.62, 0.62, 0.6), well), ink, pin), (0.4, 0.4, 0.4), edge), 1 + 0.08 * speck
        )
    if pattern == 25:  # light switch: a rocker
        rocker = _soft(0.7 * ha - max(abs(a), abs(b)), blur)
        tone = 0.95 if b > 0 else 0.72
        return _times(
            _mix((0.5, 0.5, 0.5), _mix(white, _times(white, tone), rocker), _soft(rim - 0.1 * ha, blur)),
            1 + 0.08 * speck,
        )
    if pattern == 26:  # whiteboard: lines somebody drew
        curve = _fbm(a, b, 0.0, seed + 1, 0.22, 2, foot)
        stroke = _soft(0.035 - abs(curve - 0.15), 0.03) * _soft(rim - 0.08, 0.05)
        word = (
            _soft(_noise(a / 0.02, np.floor(b / 0.07) * 2.7, 0.5, seed), 0.3)
            * _square(b, 0.07, foot)
            * _soft(_noise(a / 0.3, b / 0.2, 0.0, seed + 8) - 0.2, 0.1)
        )
        board = _mix(_mix(white, c0, stroke), ink, 0.8 * word)
        return _times(_mix(board, (0.45, 0.46, 0.48), _soft(0.025 - rim, blur)), 1 + 0.07 * speck)
    if pattern == 27:  # map: land, sea, borders
        height = _fbm(a, b, 0.0, seed + 1, 0.25, 5, foot)
        border = _soft(0.05 - abs(_fbm(a, b, 9.0, seed + 2, 0.15, 3, foot)), 0.04)
        land = _mix(_mix((0.5, 0.68, 0.38), (0.8, 0.66, 0.42), _soft(height - 0.3, 0.5)), ink, 0.6 * border)
        return _times(
            _mix(_mix(_mix((0.45, 0.65, 0.85), land, _soft(height, 0.05)), white, _soft(0.03 - rim, blur)), white, 0.0),
            1 + 0.1 * speck,
        )
    if pattern == 28:  # mirror: silver with blurred shapes, in a frame
        shape = _fbm(a, b, 0.0, seed + 1, 0.2, 4, foot)
        glass = _mix((0.6, 0.68, 0.72), (0.86, 0.9, 0.92), _soft(shape, 0.9))
        return _times(_mix(glass, c0, _soft(0.04 - rim, blur)), 1 + 0.12 * speck)
    if pattern == 30:  # doormat
        return _times(
            _mix(_mix(c0, c1, _square(a, 0.05, foot)), (0.15, 0.1, 0.07), _soft(0.03 - rim, blur)), 1 + 0.4 * speck
        )
    if pattern == 31:  # clock: numerals and hands
        radius = np.sqrt((a / ha) ** 2 + (b / hb) ** 2)
        angle = np.arctan2(a, b)
        tick = _soft(0.12 - abs(((angle * 6 / np.pi) % 1.0 + 1.5) % 1.0 - 0.5), 0.06) * _soft(
            0.1 - abs(radius - 0.75), 0.05
        )
        hand_a = _soft(0.008 - abs(a - 0.3 * b), blur) * _soft(0.6 - radius, 0.03) * (1.0 if b > 0 else 0.0)
        hand_b = _soft(0.008 - abs(b + 0.4 * a), blur) * _soft(0.45 - radius, 0.03) * (1.0 if a > 0 else 0.0)
        face = _mix(white, ink, max(tick, max(hand_a, hand_b)))
        return _times(_mix(face, c0, _soft(radius - 0.9, 0.05)), 1 + 0.08 * speck)
    if pattern == 32:  # sticker: rays round a disc
        radius = np.sqrt(a * a + b * b)
        ray = _soft(np.sin(9 * np.arctan2(b, a)), 0.5)
        return _times(_mix(_mix(c0, c1, ray), white, _soft(0.4 * ha - radius, blur)), 1 + 0.2 * speck)
    if pattern == 33:  # placemat
        weave = 0.5 * (_square(a, 0.04, foot) + _square(b, 0.04, foot))
        return _times(_mix(_mix(c0, c1, weave), c1, _soft(0.02 - rim, blur)), 1 + 0.3 * speck)
    return _times(c0, 1 + 0.3 * speck)
