"""What a perfect DUSt3R would say of a rendered room, and worse: the stand-in for the pretrained network in tests."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ovseg3r_model.reconstruction.dust3r.crops import crop_of
from ovseg3r_model.reconstruction.dust3r.model import PairPrediction
from ovseg3r_model.records import Recording, color_alone
from ovseg3r_model.settings import Dust3rSettings, ReconstructSettings
from tests.contracts.reconstructor_contract import room_recording

SIDE = 96  # as wide as the contract's pictures


class SyntheticPairs:
    """A PairModel that knows the exact depth and cameras of ``truth`` and recognises its pictures.

    noise: relative, of each pixel's depth; every directed pair has a random scale of its own. bent: relative, of what
    each prediction's depth is off by from side to side and from top to bottom. wrong: directed pairs whose first view
    is turned upside down and whose second is put somewhere else, as surely as the others. sure: the confidence of what
    is right.
    """

    def __init__(
        self,
        truth: Recording,
        noise: float = 0.01,
        bent: float = 0.0,
        wrong: Sequence[tuple[int, int]] = (),
        sure: float = 6.0,
        image_size: int = SIDE,
    ) -> None:
        assert truth.depth is not None
        assert truth.intrinsics is not None
        assert truth.world_from_camera is not None
        crop = crop_of(truth.size, image_size)
        self.pose, self.noise, self.bent = truth.world_from_camera, noise, bent
        self.wrong, self.sure = set(wrong), sure
        self.index = {crop.cut(truth.color[i]).tobytes(): i for i in range(len(truth))}
        assert len(self.index) == len(truth), "two frames look the same"
        pixel = crop.pixels()
        at = np.rint(pixel).astype(int)
        self.depth = [np.asarray(d)[at[..., 1], at[..., 0]].astype(np.float64) for d in truth.depth]
        k = truth.intrinsics[0]
        plane = (pixel - k[:2, 2]) / [k[0, 0], k[1, 1]]
        self.rays = np.concatenate([plane, np.ones((*plane.shape[:2], 1))], axis=-1)
        self.calls: list[tuple[int, int]] = []

    def predict(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> PairPrediction:
        pairs = [(self.index[a.tobytes()], self.index[b.tobytes()]) for a, b in zip(first, second, strict=True)]
        self.calls += pairs
        found = [self._pair(i, j) for i, j in pairs]
        return PairPrediction(*(np.stack(f).astype(np.float32) for f in zip(*found, strict=True)))

    def _pair(self, i: int, j: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng([i, j])
        unit = np.exp(rng.uniform(-1, 1))
        points, sure = [], []
        for v in (i, j):
            known = self.depth[v] > 0
            off = self.noise * rng.standard_normal(known.shape)
            off += self.bent * self.rays[..., :2] @ rng.standard_normal(2)
            z = np.where(known, self.depth[v] * (1 + off), 2.0)
            motion = np.linalg.inv(self.pose[i]) @ self.pose[v]
            local = z[..., None] * self.rays @ motion[:3, :3].T + motion[:3, 3]
            if (i, j) in self.wrong:
                local = local[..., [1, 2, 0]] + [0.5, -1.0, 2.0] if v == j else local[::-1, ::-1]
            points.append(unit * local)
            sure.append(np.where(known, self.sure, 1.0))
        return points[0], points[1], sure[0], sure[1]


def dust3r_settings(scale_from: str | None = None, **changed: Any) -> ReconstructSettings:
    """Fit for tests: the pictures as they are, few iterations."""
    settings = {"image_size": SIDE, "iterations": 60} | changed
    return ReconstructSettings(engine="dust3r", scale_from=scale_from, dust3r=Dust3rSettings(**settings))


@cache
def room(views: int = 8, seed: int = 1) -> tuple[Recording, Recording]:
    """A rendered walk with all that is known of it, and as plain video."""
    truth = room_recording(seed, views)
    return truth, color_alone(truth)
