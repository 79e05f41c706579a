"""The flow ``reconstruct``: one source -> its reconstruction, as ``generate-labels`` would make it, and how good it is.

The stages and their digests are those of ``generate-labels``, so either finds done what the other has done.
"""

import json
import time
from pathlib import Path
from typing import Any

from prefect import flow

from flows.plain_json import finite
from flows.settings import LabelParameters, only_scene
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import ReferenceSettings
from storage.arrays import read_array
from storage.stages import StageRef
from storage.store import Store
from tasks.fetch import fetched
from tasks.ingest import ingest
from tasks.judge import check_reference, cloud_alone, judge
from tasks.plan import plan_reconstruction
from tasks.progress import of_scene
from tasks.reconstruct import reconstruct

PICTURES = "reconstruction-pictures"
"""Where pictures go when nothing else is said."""


@flow(name="reconstruct", persist_result=False)
def reconstruct_only(
    parameters: LabelParameters, against: ReferenceSettings | None = None, pictures: str | None = None
) -> dict[str, Any]:
    """Reconstructs the one source of ``parameters``, whose settings of later stages make no difference; the report as
    JSON values.

    against: judges the reconstruction. pictures: folder for pictures and ``report.json``; where only ``against`` is
    given, ``reconstruction-pictures``.

    Raises:
        InputError: the source, the reference or the store is unusable, or there is more than one source.
    """
    start = time.perf_counter()
    scene = only_scene(parameters)
    source, scene_id, settings = scene.source, scene.scene_id, scene.settings
    store = Store.open(parameters.store)
    store.check_writable()
    if against is not None:
        check_reference(against)
    with of_scene(scene_id):
        try:
            with fetched(source, settings) as here:
                d = plan_reconstruction(here.source, here.settings).digests
                keyframes = ingest(store.url, d["ingest"], str(here.source), settings.ingest)
                if against is not None:  # what does not fit the frames is told before the longer work
                    check_reference(against, keyframes)
                done = reconstruct(store.url, d["reconstruct"], keyframes, here.settings.reconstruct, settings.seed)
        except InputError as error:
            if source in str(error) or (against is not None and against.source in str(error)):
                raise
            raise InputError(f"{source}: {error}") from error
        report = _described(source, scene_id, keyframes, done)
        drawn: dict[str, bytes] = {}
        if against is not None:
            judgement = judge(keyframes, done, against)
            report["against"] = {"source": against.source, **judgement.figures}
            report["notes"] += [f"reference: {note}" for note in judgement.notes]
            drawn = judgement.pictures
    folder = pictures or (PICTURES if against is not None else None)
    report["total_seconds"] = round(time.perf_counter() - start, 2)
    report["pictures"] = [] if folder is None else _write(Path(folder), {**cloud_alone(done), **drawn}, report)
    return report


def _described(source: str, scene_id: str, keyframes: StageRef, done: StageRef) -> dict[str, Any]:
    """What the stages' outputs say of themselves."""
    group = done.group()
    attributes: dict[str, Any] = group.attrs.asdict()
    summary = done.summary
    return {
        "scene_id": scene_id,
        "source": source,
        "engine": summary["engine"],
        "keyframes": keyframes.summary["views"],
        "registered": len(read_array(group, "views/frame")),
        "points": summary["points"],
        "observations": summary["observations"],
        "voxel_size": attributes["voxel_size"],
        "scale_known": attributes["scale_known"],
        "world_frame": attributes["world_frame"],
        "quality": summary["quality"],
        "notes": [*keyframes.summary["notes"], *summary["notes"]],
        "seconds": {ref.stage: round(ref.seconds, 2) for ref in (keyframes, done)},
        "digest": done.digest,
        "output": f"{done.url}/{done.prefix}/data.zarr",
    }


def _write(folder: Path, drawn: dict[str, bytes], report: dict[str, Any]) -> list[str]:
    """Writes the pictures and ``report.json``; gives the pictures' paths, which the report gets too.

    Raises:
        InputError: the folder cannot be written to.
    """
    paths = [str(folder / name) for name in sorted(drawn)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in drawn.items():
            (folder / name).write_bytes(data)
        text = json.dumps(finite({**report, "pictures": paths}), indent=1, allow_nan=False)
        (folder / "report.json").write_text(text + "\n")
    except OSError as error:
        raise InputError(
            f"{folder}: the pictures cannot be written ({error.strerror}); name another folder with --pictures."
        ) from error
    return paths
