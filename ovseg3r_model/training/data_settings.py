"""The settings of how scenes reach a training: read, kept, changed."""

from typing import Self

from pydantic import Field, model_validator

from ovseg3r_model.settings import Settings

Grid = tuple[float, float]
"""Spacing of an elastic grid and length of its steps, metres."""


class AugmentSettings(Settings):
    """What is changed at random each time a scene is taken, so that it is never the same twice."""

    max_points: int | None = Field(
        250_000, ge=1, description="A scene of more points is cut to the column of so many around one of its points."
    )
    rotation: float = Field(180.0, ge=0, le=180, description="Largest turn about gravity, degrees.")
    tilt: float = Field(2.0, ge=0, le=45, description="Largest turn about x and about y, degrees.")
    flip: float = Field(0.5, ge=0, le=1, description="Chance that x is mirrored, and that y is.")
    scale: tuple[float, float] = Field((0.9, 1.1), description="Smallest and largest factor on all lengths.")
    elastic: float = Field(0.95, ge=0, le=1, description="Chance that the scene is bent.")
    elastic_grids: tuple[Grid, ...] = Field(
        ((0.2, 0.4), (0.8, 1.6)),
        description="Spacing and strength, metres, of each grid of smoothed noise that bends; Mask3D's.",
    )
    contrast: float = Field(0.2, ge=0, lt=1, description="Largest change of the contrast of the colours, relative.")
    brightness: float = Field(0.2, ge=0, description="Largest shift of the colours, which are in [-1, 1].")
    jitter: float = Field(0.05, ge=0, description="Deviation of the noise on each point's colour.")
    point_dropout: float = Field(0.2, ge=0, lt=1, description="Largest share of points left out.")
    view_dropout: float = Field(0.1, ge=0, lt=1, description="Share of views whose annotation is left out.")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale must be two positive factors, the smaller first")
        if any(spacing <= 0 or strength < 0 for spacing, strength in self.elastic_grids):
            raise ValueError("an elastic grid needs a positive spacing and a strength of 0 or more")
        return self

    @classmethod
    def none(cls) -> Self:
        """Scenes as they are."""
        return cls(
            max_points=None,
            rotation=0,
            tilt=0,
            flip=0,
            scale=(1, 1),
            elastic=0,
            contrast=0,
            brightness=0,
            jitter=0,
            point_dropout=0,
            view_dropout=0,
        )


class DataSettings(Settings):
    """How fast scenes come; nothing here changes what comes."""

    workers: int = Field(2, ge=0, le=64, description="Processes that read scenes; 0: the training reads them itself.")
    prefetch: int = Field(2, ge=1, description="Batches that each worker has ready.")
    cache: int = Field(1024, ge=0, description="Scenes kept in memory for the next time, MiB in each worker.")
