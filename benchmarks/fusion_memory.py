"""By how much fusing raises a fresh process's peak memory, as JSON.

``python -m benchmarks.fusion_memory frames.npz repeats``

The frames are in memory beforehand and are shown ``repeats`` times over, as views of their own.
"""

import json
import sys

import numpy as np

from benchmarks.measure import forget_peak, peak_mb
from ovseg3r_model.fusion import DepthView, fuse
from ovseg3r_model.records import Views


def main() -> None:
    with np.load(sys.argv[1]) as file:
        frames = {name: file[name] for name in file.files}
    repeats = int(sys.argv[2])
    count, height, width = frames["depth"].shape
    confidence = np.ones((height, width), np.float32)

    def read(view: int) -> DepthView:
        return DepthView(frames["rgb"][view % count], frames["depth"][view % count], confidence)

    def views(number: int) -> Views:
        index = np.arange(number)
        return Views(
            frames["intrinsics"][index % count],
            frames["world_from_camera"][index % count],
            np.tile(np.array([[width, height]]), (number, 1)),
            index,
            index / 30,
        )

    voxel, min_views = float(frames["voxel"]), int(frames["min_views"])
    fuse(views(1), read, voxel)  # loads the compiled code
    forget_peak()
    before = peak_mb()
    points, correspondence = fuse(views(count * repeats), read, voxel, min_views)
    result = {
        "peak_growth_mb": peak_mb() - before,
        "points": len(points),
        "observations": len(correspondence),
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
