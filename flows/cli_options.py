"""Options that several commands share, declared once, and where their values go among the flows' parameters."""

from pathlib import Path
from typing import Annotated, Any

import typer

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="OVSEG3R_STORE", help="Folder or URL of the store [default: ovseg3r-store]."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Reconstruct = Annotated[
    str | None, typer.Option(help="Engine: auto, posed-rgbd, colmap, imported, dust3r (non-commercial).")
]
Reconstruction = Annotated[str | None, typer.Option(help="Another system's reconstruction, for imported.")]
MinRegistered = Annotated[
    float | None, typer.Option(help="Smallest share of keyframes that must get a camera [default: 0.5].")
]
ScaleFrom = Annotated[
    str | None,
    typer.Option(help="What settles the scale: depth, positions:FILE.csv, length:FRAME,X1,Y1,X2,Y2=METRES."),
]
ColorOnly = Annotated[bool, typer.Option("--color-only", help="Take the pictures alone, as of plain video.")]
MaxViews = Annotated[int | None, typer.Option(help="Most keyframes a source [default: 200].")]
Voxel = Annotated[
    float | None, typer.Option(help="Fusion grid [default: 0.02 m, or 1/300 of the scene without scale].")
]
SourceFormat = Annotated[str | None, typer.Option(help="auto, video, images, 7scenes, scannet, tum, nerfstudio.")]
ColorIntrinsics = Annotated[str | None, typer.Option(metavar="FX,FY,CX,CY", help="Of the colour camera.")]
DepthIntrinsics = Annotated[str | None, typer.Option(metavar="FX,FY,CX,CY", help="Of the depth camera.")]
Cut = Annotated[str | None, typer.Option(help="IBSp rule: contested-last, majority, any, unlabelled-never-cuts.")]
Tag = Annotated[
    list[str] | None,
    typer.Option(help="Word of your own for the scenes, like kitchen or split:train; again for more. Replaces theirs."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of every random choice [default: 0].")]
Config = Annotated[Path | None, typer.Option(help="YAML or JSON with the flow's parameters; options override it.")]
Segment = Annotated[
    str | None, typer.Option(help="2D engine: auto, grounded-sam, sam3, imported, regions, simulated (rooms only).")
]
Prompt = Annotated[str | None, typer.Option(help='What to look for: "chair. office desk. mug".')]
Words = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="household, scannet200, or a phrase a line [default: household]."),
]
Masks = Annotated[str | None, typer.Option(help="COCO instances JSON, or folder of id-map PNGs, for imported.")]
Detector = Annotated[
    str | None, typer.Option(metavar="NAME|FOLDER", help="Weights for boxes [default: grounding-dino-tiny].")
]
Sam = Annotated[str | None, typer.Option(metavar="NAME|FOLDER", help="Weights for masks [default: sam-vit-base].")]
Truth = Annotated[str | None, typer.Option(help="Folder that a synthetic room was written to, for simulated.")]
Device = Annotated[str | None, typer.Option(help="Of the 2D engine: auto, cpu, cuda, cuda:1 ... [default: auto].")]
Manifest = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="CSV or Parquet, path or URL, of sources: url, id, format, masks, tags."),
]
Workers = Annotated[int | None, typer.Option(help="Scenes at the same time [default: 1].")]
Runner = Annotated[str | None, typer.Option(help="Scenes run on threads, processes, dask or ray [default: threads].")]
RunnerAddress = Annotated[str | None, typer.Option(help="Of a running Dask scheduler or Ray head.")]
SkipFailed = Annotated[
    bool,
    typer.Option("--skip-failed", help="Leave scenes that failed as bad input, until they or the settings change."),
]
Until = Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage: reconstruct.")]
Features = Annotated[bool, typer.Option("--features", help="Keep the 2D engine's features of points and instances.")]
FeatureSize = Annotated[int | None, typer.Option(help="Channels to reduce the features to [default: all].")]

LABEL = {
    "sources": "sources",
    "store": "store",
    "scene_id": "scene_id",
    "tag": "tags",
    "manifest": "manifest",
    "workers": "workers",
    "runner": "runner",
    "runner_address": "runner_address",
    "skip_failed": "skip_failed",
    "until": "until",
    "seed": "pipeline.seed",
    "max_views": "pipeline.ingest.max_views",
    "source_format": "pipeline.ingest.source_format",
    "color_only": "pipeline.ingest.color_only",
    "color_intrinsics": "pipeline.ingest.color_intrinsics",
    "depth_intrinsics": "pipeline.ingest.depth_intrinsics",
    "reconstruct": "pipeline.reconstruct.engine",
    "reconstruction": "pipeline.reconstruct.reconstruction",
    "min_registered": "pipeline.reconstruct.sfm.min_registered",
    "scale_from": "pipeline.reconstruct.scale_from",
    "voxel": "pipeline.reconstruct.voxel",
    "segment": "pipeline.segment.engine",
    "masks": "pipeline.segment.masks",
    "prompt": "pipeline.segment.prompt",
    "vocabulary": "pipeline.segment.vocabulary",
    "detector": "pipeline.segment.grounded_sam.detector",
    "sam": "pipeline.segment.grounded_sam.sam",
    "truth": "pipeline.segment.simulated.truth",
    "device": "pipeline.segment.device",
    "features": "pipeline.features.save",
    "feature_size": "pipeline.features.size",
    "cut": "pipeline.superpoints.cut",
}
"""By option: its place in ``flows.settings.LabelParameters``."""

SOURCES = {"sources": "sources", "manifest": "manifest", "store": "store"}
"""Of ``LABEL``, what says which sources, and where their scenes are."""

REFERENCE = {
    "against": "source",
    "against_format": "source_format",
    "against_color_intrinsics": "color_intrinsics",
    "against_depth_intrinsics": "depth_intrinsics",
}
"""By option: its place in ``ovseg3r_model.settings.ReferenceSettings``."""


def given(context: typer.Context, places: dict[str, str]) -> dict[str, Any]:
    """The values of a command's options that were given, nested as the parameters are."""
    out: dict[str, Any] = {}
    for option, path in places.items():
        value = context.params.get(option)
        if value is None or value is False or (isinstance(value, (list, tuple)) and not value):
            continue
        *parents, name = path.split(".")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        # the parts of "fx,fy,cx,cy"; the settings' model judges them
        place[name] = value.split(",") if name.endswith("_intrinsics") else value
    return out
