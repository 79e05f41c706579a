"""Every setting of every stage, with its default and its meaning: the one place where either stands.

All models are frozen and refuse unknown names. The flow's parameter model is built from them, so a configuration file,
the command line and Prefect's form speak of the same values.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SourceFormat = Literal["auto", "video", "images", "7scenes", "scannet", "tum", "nerfstudio"]
EdgeCut = Literal["contested-last", "majority", "any", "unlabelled-never-cuts"]
Pinhole = tuple[float, float, float, float]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IngestSettings(Settings):
    source_format: SourceFormat = Field("auto", description="How to read the source; auto looks at what is there.")
    max_views: int = Field(200, ge=2, le=65535, description="Most keyframes to take from one source.")
    color_intrinsics: Pinhole | None = Field(
        None, description="fx, fy, cx, cy of the colour camera, instead of the source's."
    )
    depth_intrinsics: Pinhole | None = Field(
        None, description="fx, fy, cx, cy of the depth camera, instead of the source's."
    )


class ReconstructSettings(Settings):
    engine: Literal["auto", "posed-rgbd"] = Field(
        "auto", description="auto: posed-rgbd where the source has depth and poses."
    )
    voxel: float = Field(0.02, gt=0, description="Fusion grid in metres.")
    min_depth: float = Field(0.1, ge=0, description="Nearer depth is no measurement, metres.")
    max_depth: float = Field(
        6.0, gt=0, description="Farther depth is left out, metres: depth noise grows with its square."
    )
    min_views: int = Field(
        2, ge=1, description="Points seen in fewer views are left out: mostly noise of the depth sensor."
    )
    edge_ratio: float = Field(
        0.03,
        gt=0,
        description="Depth steps larger than this share of the depth, and no slope, are edges and left out.",
    )


class SegmentSettings(Settings):
    engine: Literal["auto", "imported", "regions"] = Field("auto", description="auto: imported where masks are given.")
    masks: str | None = Field(
        None, description="For imported: a COCO instances JSON, or a folder of id-map PNGs with labels.json."
    )
    min_area: int = Field(25, ge=1, description="Smaller masks are dropped, pixels.")


class SuperpointSettings(Settings):
    neighbours: int = Field(8, ge=2, le=64, description="k of the kNN graph.")
    cut: EdgeCut = Field("contested-last", description="When 2D instance boundaries cut an edge of the graph.")
    k_threshold: float = Field(0.01, gt=0, description="Felzenszwalb's k: larger gives larger superpoints.")
    min_points: int = Field(20, ge=1, description="Smaller superpoints join a neighbour, never across a cut.")


class PipelineSettings(Settings):
    """All that decides what a source's labels are."""

    ingest: IngestSettings = IngestSettings()
    reconstruct: ReconstructSettings = ReconstructSettings()
    segment: SegmentSettings = SegmentSettings()
    superpoints: SuperpointSettings = SuperpointSettings()
    seed: int = Field(0, ge=0, description="Seed of every random choice; kept with the scene.")
