"""The parameters of the flow ``import-annotated``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from flows.settings import MOST_WORKERS, StoreUrl, Tags, default_store
from ovseg3r_model.annotated.find import AnnotatedFormat, AnnotatedSource, find_annotated
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import (
    FeatureSettings,
    IngestSettings,
    MaskErrors,
    PipelineSettings,
    ReconstructSettings,
    SegmentSettings,
    Settings,
    SimulatedSettings,
    SuperpointSettings,
)


class ImportParameters(Settings):
    """Which scenes with ground truth to publish, where to, and how."""

    sources: tuple[str, ...] = Field(
        min_length=1, description="Folders of rooms or of ScanNet200-style scans, or folders that hold many of them."
    )
    store: StoreUrl = Field(
        default_factory=default_store, description="Folder or URL (s3://, gs://, az://) that scenes are published to."
    )
    format: AnnotatedFormat = Field("auto", description="What the sources are; auto looks at what is there.")
    tags: Tags = Field(
        (), description="Words of one's own for the scenes, to choose them by; without any, a scene keeps what it has."
    )
    workers: int = Field(1, ge=1, le=MOST_WORKERS, description="Scenes imported at the same time.")
    voxel: float | None = Field(None, gt=0, description="Fusion grid of rooms, metres; without it 0.02.")
    max_views: int | None = Field(None, ge=2, le=65535, description="Most keyframes of a room; without it 200.")
    features: FeatureSettings = FeatureSettings()
    superpoints: SuperpointSettings = SuperpointSettings()

    def for_room(self, folder: Path) -> PipelineSettings:
        """The labelling line's settings: exact depth, poses and masks."""
        views = {} if self.max_views is None else {"max_views": self.max_views}
        exact = SimulatedSettings(truth=str(folder), errors=MaskErrors.none())
        return PipelineSettings(
            ingest=IngestSettings(**views),
            reconstruct=ReconstructSettings(engine="posed-rgbd", voxel=self.voxel),
            segment=SegmentSettings(engine="simulated", simulated=exact),
            features=self.features,
            superpoints=self.superpoints,
        )

    def check_for_scan(self, path: Path) -> None:
        """Raises InputError for settings that would make no difference to a scan."""
        given = {
            "--voxel": self.voxel is not None,
            "--max-views": self.max_views is not None,
            "--features": self.features.save,
        }
        unused = " and ".join(name for name, is_given in given.items() if is_given)
        if unused:
            raise InputError(
                f"{path}: is a scan without pictures, to which {unused} would make no difference; leave it out."
            )


@dataclass(frozen=True)
class NamedScene:
    """A scene with ground truth that is to be imported, and how; of ``parameters`` the sources make no difference."""

    source: AnnotatedSource
    scene_id: str
    parameters: ImportParameters

    def kept(self) -> dict[str, Any]:
        """What another try needs beside the source's path, as JSON values."""
        return {"import": self.parameters.model_dump(mode="json", exclude={"sources", "store", "workers"})}

    def found(self) -> AnnotatedSource:
        """The source as it is now. Raises InputError: there is no scene at its path, or several are."""
        scenes = find_annotated(self.source.path, self.parameters.format)
        if len(scenes) > 1:
            raise InputError(f"{self.source.path}: holds {len(scenes)} scenes by now; import it again.")
        return scenes[0]


def named_again(source: str, scene_id: str, kept: dict[str, Any]) -> NamedScene:
    """The scene that :meth:`NamedScene.kept` was asked of.

    Raises:
        ValidationError, KeyError: it was another version of this program.
    """
    parameters = ImportParameters.model_validate(kept["import"] | {"sources": [source]})
    return NamedScene(_itself(Path(source), parameters.format), scene_id, parameters)


def name_annotated(parameters: ImportParameters) -> list[NamedScene]:
    """Every scene of the sources. A source at which there is none stands for itself, and fails when its turn comes.

    Raises:
        InputError: two scenes have one name.
    """
    seen: dict[str, Path] = {}
    scenes = []
    for source in parameters.sources:
        for scene in _found(Path(source).expanduser().resolve(), parameters.format):
            scene_id = scene.scene_id
            if scene_id in seen:
                raise InputError(
                    f"{seen[scene_id]} and {scene.path} would both be scene {scene_id}; rename one of them."
                )
            seen[scene_id] = scene.path
            scenes.append(NamedScene(scene, scene_id, parameters))
    return scenes


def _found(path: Path, wanted: AnnotatedFormat) -> list[AnnotatedSource]:
    try:
        return find_annotated(path, wanted)
    except InputError:
        return [_itself(path, wanted)]


def _itself(path: Path, wanted: AnnotatedFormat) -> AnnotatedSource:
    """What is looked at when its turn comes."""
    return AnnotatedSource("room" if wanted == "room" else "scannet200", path)
