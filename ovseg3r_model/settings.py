"""Every setting of every stage, with its default and its meaning: the one place where either stands.

All models are frozen and refuse unknown names. The flow's parameter model is built from them, so a configuration file,
the command line and Prefect's form speak of the same values.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SourceFormat = Literal["auto", "video", "images", "7scenes", "scannet", "tum", "nerfstudio"]
EdgeCut = Literal["contested-last", "majority", "any", "unlabelled-never-cuts", "none"]
Pinhole = tuple[float, float, float, float]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IngestSettings(Settings):
    source_format: SourceFormat = Field("auto", description="How to read the source; auto looks at what is there.")
    max_views: int = Field(200, ge=2, le=65535, description="Most keyframes to take from one source.")
    color_only: bool = Field(
        False, description="Take the pictures alone, as of plain video: the source's depth, poses and cameras are left."
    )
    color_intrinsics: Pinhole | None = Field(
        None, description="fx, fy, cx, cy of the colour camera, instead of the source's."
    )
    depth_intrinsics: Pinhole | None = Field(
        None, description="fx, fy, cx, cy of the depth camera, instead of the source's."
    )


class SfmSettings(Settings):
    """Cameras from plain video: features, matches, incremental mapping."""

    min_registered: float = Field(
        0.5, gt=0, le=1, description="A smaller share of keyframes with a camera fails the scene."
    )
    max_features: int = Field(1500, ge=100, le=32768, description="Most SIFT features per keyframe.")
    max_image_size: int = Field(
        1280, ge=64, description="Features are found on keyframes reduced to this longer side, pixels."
    )
    overlap: int = Field(8, ge=2, description="Each keyframe is matched with that many after it.")
    loop_neighbours: int = Field(
        4, ge=0, description="And with that many similar ones from elsewhere in the video (loop closure)."
    )


class DenseSettings(Settings):
    """Dense depth from pictures alone; all of it is free of the scene's scale."""

    device: str = Field("auto", description="auto (CUDA where there is one), cpu, or a torch device such as cuda:0.")
    short_side: int = Field(240, ge=48, description="The pictures' shorter side for matching, pixels.")
    sources: int = Field(8, ge=1, le=16, description="Pictures that each view is matched with.")
    neighbours: int = Field(12, ge=1, le=32, description="Depth maps that each view's own is checked against.")
    planes: int = Field(96, ge=16, le=512, description="Most depths that the first, coarse sweep tries at each pixel.")
    agreement: float = Field(0.02, gt=0, lt=0.5, description="Two depths agree when they differ by no more, relative.")
    min_support: int = Field(2, ge=1, description="Views, besides its own, that a depth must agree with to be kept.")
    min_confidence: float = Field(0.3, ge=0, le=1, description="Less confident depth is left out.")


class Dust3rSettings(Settings):
    """The learned engine: pointmaps of pairs of pictures from DUSt3R, put together by our own global alignment."""

    weights: str = Field(
        "naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt",
        description="Hub id, or folder with config.json and model.safetensors. DUSt3R's code and weights are "
        "CC BY-NC-SA 4.0: for non-commercial use only.",
    )
    device: str = Field("auto", description="auto (CUDA where there is one), cpu, or a torch device such as cuda:0.")
    image_size: int = Field(
        512,
        ge=32,
        multiple_of=16,
        description="Longer side of the pictures that the network sees, pixels: what its weights are trained for, "
        "512 or 224 (which sees the middle square).",
    )
    neighbours: int = Field(3, ge=1, description="Each keyframe is paired with that many after it.")
    loop_neighbours: int = Field(
        2, ge=0, description="And with that many similar ones from elsewhere in the video (loop closure)."
    )
    window: int = Field(
        24, ge=4, description="Keyframes aligned at a time; memory grows with it, and not with the video."
    )
    batch: int = Field(2, ge=1, description="Pairs, each both ways, in the network at a time.")
    iterations: int = Field(300, ge=0, description="Steps of the global alignment's gradient descent.")
    min_confidence: float = Field(0.5, ge=0, le=1, description="Less confident depth is left out.")


ReconstructEngine = Literal["auto", "posed-rgbd", "colmap", "dust3r", "imported"]


class ReconstructSettings(Settings):
    engine: ReconstructEngine = Field(
        "auto",
        description="auto: imported where a reconstruction is given, posed-rgbd where the source has depth and poses, "
        "else colmap. dust3r, the learned one, is for non-commercial use only (CC BY-NC-SA 4.0).",
    )
    reconstruction: str | None = Field(
        None, description="For imported: the folder or file that another system's reconstruction is in."
    )
    voxel: float | None = Field(
        None, gt=0, description="Fusion grid; without it 0.02 m, or 1/300 of a scene's extent where metres are unknown."
    )
    scale_from: str | None = Field(
        None,
        description="What settles the scale of a reconstruction without one: depth, positions:FILE.csv, or "
        "length:FRAME,X1,Y1,X2,Y2=METRES.",
    )
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
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="CPU threads for features, matches and depth, which do not depend on it; without it one a core.",
    )
    sfm: SfmSettings = SfmSettings()
    dense: DenseSettings = DenseSettings()
    dust3r: Dust3rSettings = Dust3rSettings()


class OverlapSettings(Settings):
    """How a learned engine's masks become one id map; sizes in pixels of the frame, on purpose not of the network."""

    box_iou: float = Field(
        0.7, gt=0, le=1, description="Of boxes that overlap more the surest stays, whatever its name."
    )
    mask_iou: float = Field(0.7, gt=0, le=1, description="The same for masks.")
    max_instances: int = Field(100, ge=1, le=1000, description="Most instances a frame; the surest stay.")
    max_hole: int = Field(64, ge=0, description="Smaller holes in a mask are filled, pixels.")
    max_crumb: int = Field(64, ge=0, description="Smaller separate pieces of a mask are dropped, pixels.")


class GroundedSamSettings(Settings):
    """Boxes from text by Grounding DINO, masks of the boxes by SAM."""

    detector: str = Field(
        "grounding-dino-tiny",
        description="Weights of Grounding DINO or MM Grounding DINO: a name from `ovseg3r weights list`, or a folder.",
    )
    sam: str = Field(
        "sam-vit-base", description="Weights of SAM or SAM 2.1: a name from `ovseg3r weights list`, or a folder."
    )
    threshold: float = Field(0.3, ge=0, lt=1, description="Less sure detections are left out.")


class Sam3Settings(Settings):
    """All instances of each phrase by SAM 3."""

    weights: str = Field("sam3", description="Weights of SAM 3: a name from `ovseg3r weights list`, or a folder.")
    threshold: float = Field(0.5, ge=0, lt=1, description="Less sure instances are left out.")
    phrases: int = Field(8, ge=1, description="Phrases in the network at a time.")


class MaskErrors(Settings):
    """How often each error befalls an instance in a view; rates in [0, 1], independent of each other.

    Dilated masks grow over their neighbours; one eroded to nothing is gone. Never both on one mask.
    """

    dilate: float = Field(0.0, ge=0, le=1, description="Share of masks that grow.")
    dilate_px: int = Field(2, ge=0, description="By so many pixels.")
    erode: float = Field(0.0, ge=0, le=1, description="Share of masks that shrink.")
    erode_px: int = Field(2, ge=0, description="By so many pixels.")
    miss: float = Field(0.0, ge=0, le=1, description="Share of instances left out.")
    split: float = Field(0.0, ge=0, le=1, description="Share of masks cut in two by a line through the middle.")
    merge: float = Field(
        0.0, ge=0, le=1, description="Share of the instances that touch another which are joined with one they touch."
    )
    wrong_name: float = Field(0.0, ge=0, le=1, description="Share of labels that are another kind's name.")
    synonym: float = Field(0.15, ge=0, le=1, description="No error: share of labels that are another name of the kind.")

    @model_validator(mode="after")
    def _exclusive(self) -> Self:
        if self.dilate + self.erode > 1:
            raise ValueError("dilate and erode exclude each other: their rates may not add to more than 1")
        return self

    @classmethod
    def none(cls) -> "MaskErrors":
        """No errors, and every label the instance's own name."""
        return cls(synonym=0.0)


class SimulatedSettings(Settings):
    """A synthetic room's true masks, with errors: for experiments without weights."""

    truth: str | None = Field(
        None, description="For simulated: the folder that a room was written to (truth.json, truth_ids.npz)."
    )
    errors: MaskErrors = MaskErrors(
        dilate=0.25, dilate_px=2, erode=0.25, erode_px=2, miss=0.1, split=0.04, merge=0.04, wrong_name=0.06
    )
    feature_noise: float = Field(0.5, ge=0, description="Noise on simulated features, in lengths of the feature.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the errors and of the noise.")


SegmentEngine = Literal["auto", "imported", "regions", "grounded-sam", "sam3", "simulated"]


class SegmentSettings(Settings):
    engine: SegmentEngine = Field(
        "auto", description="auto: imported where masks are given, else grounded-sam where its weights are here."
    )
    masks: str | None = Field(
        None, description="For imported: a COCO instances JSON, or a folder of id-map PNGs with labels.json."
    )
    prompt: str | None = Field(
        None, description='For grounded-sam and sam3: what to look for, such as "chair. office desk. mug".'
    )
    vocabulary: str = Field(
        "household",
        description="What to look for without a prompt: household, scannet200, or a text file with a phrase a line.",
    )
    min_area: int = Field(25, ge=1, description="Smaller masks are dropped, pixels.")
    device: str = Field("auto", description="auto (CUDA where there is one), cpu, or a torch device such as cuda:0.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the learned engines: auto is bfloat16 (autocast) on CUDA, float32 on the CPU."
    )
    batch: int | None = Field(
        None,
        ge=1,
        description="Frames in the network at a time; without it 1 on the CPU, what fits on CUDA.",
    )
    overlaps: OverlapSettings = OverlapSettings()
    grounded_sam: GroundedSamSettings = GroundedSamSettings()
    sam3: Sam3Settings = Sam3Settings()
    simulated: SimulatedSettings = SimulatedSettings()


class FeatureSettings(Settings):
    save: bool = Field(False, description="Keep the 2D model's features of points and of instances.")
    size: int | None = Field(
        None,
        ge=1,
        description="Channels to reduce them to by PCA, whose basis is kept; without it all.",
    )

    @model_validator(mode="after")
    def _of_what_is_kept(self) -> Self:
        if self.size is not None and not self.save:
            raise ValueError("a size is given for features that are not kept: add --features (save: true)")
        return self


class SuperpointSettings(Settings):
    neighbours: int = Field(8, ge=2, le=64, description="k of the kNN graph.")
    cut: EdgeCut = Field(
        "contested-last", description="When 2D instance boundaries cut an edge of the graph; none: never."
    )
    k_threshold: float = Field(0.01, gt=0, description="Felzenszwalb's k: larger gives larger superpoints.")
    min_points: int = Field(20, ge=1, description="Smaller superpoints join a neighbour, never across a cut.")


class PipelineSettings(Settings):
    """All that decides what a source's labels are."""

    ingest: IngestSettings = IngestSettings()
    reconstruct: ReconstructSettings = ReconstructSettings()
    segment: SegmentSettings = SegmentSettings()
    features: FeatureSettings = FeatureSettings()
    superpoints: SuperpointSettings = SuperpointSettings()
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of every random choice; kept with the scene.")


class ReferenceSettings(Settings):
    """What a reconstruction is judged by, and how to read it."""

    source: str = Field(description="A recording with poses, and with depth if that is to be judged too.")
    source_format: SourceFormat = Field("auto", description="How to read it; auto looks at what is there.")
    color_intrinsics: Pinhole | None = Field(
        None, description="fx, fy, cx, cy of its colour camera, instead of the recording's."
    )
    depth_intrinsics: Pinhole | None = Field(
        None, description="fx, fy, cx, cy of its depth camera, instead of the recording's."
    )


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` put over it, mapping by mapping; a model stands for itself."""
    out = dict(base)
    for name, value in over.items():
        old = out.get(name)
        out[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out
