"""What holds for given reconstructions of every kind; and nerfstudio's."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.from_depth import UPRIGHT
from ovseg3r_model.reconstruction.imported.detect import content_digest, read_reconstruction
from ovseg3r_model.reconstruction.protocol import build_reconstructor, check_settings, engine_for, inputs_digest
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Recording, color_alone, subset
from ovseg3r_model.settings import IngestSettings, ReconstructSettings
from tasks.ingest import ingest, load_recording
from tests.given_reconstructions import (
    depth_of,
    poses_of,
    write_colmap,
    write_colmap_depth,
    write_nerfstudio,
    write_views,
)
from tests.unit.imported_reconstruction.judged import VOXEL, assert_true, reconstruct


def test_nerfstudio(room: Recording, truth: cKDTree, tmp_path: Path):
    folder = write_nerfstudio(tmp_path / "ns", room)
    for path in (folder, folder / "transforms.json"):
        result = reconstruct(path, room)
        assert_true(result, truth, room)
        assert result.scale_known
        assert result.world_frame == UPRIGHT
    some = replace(color_alone(room), names=tuple("else-" + n if k == 0 else n for k, n in enumerate(room.names)))
    assert len(reconstruct(folder, some).views) == 7
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"no depth; add depth_file_path"):
        reconstruct(write_nerfstudio(folder, room, depth=False), room)


def test_nerfstudio_in_another_unit(room: Recording, truth: cKDTree, tmp_path: Path):
    """As ns-process-data --use-sfm-depth leaves it; what is too large for a room is refused without --scale-from."""
    for scale in (3.0, 1000.0):
        poses = poses_of(room).copy()
        poses[:, :3, 3] *= scale
        other = replace(room, world_from_camera=poses, depth=[scale * depth_of(room, k) for k in range(len(room))])
        folder = write_nerfstudio(tmp_path / f"{scale:g}", other)
        csv = tmp_path / "positions.csv"
        rows = zip(room.names, poses_of(room)[:, :3, 3], strict=True)
        csv.write_text("\n".join(f"{name},{x},{y},{z}" for name, (x, y, z) in rows))
        result = reconstruct(folder, room, scale_from=f"positions:{csv}")
        assert result.scale_known
        np.testing.assert_allclose(result.views.world_from_camera, poses_of(room), atol=1e-3)
        assert truth.query(result.points.xyz)[0].max() < 1.5 * VOXEL
        assert not any("--use-sfm-depth" in note for note in result.notes)
        if scale > 100:
            with pytest.raises(InputError, match="for nerfstudio by --scale-from"):
                reconstruct(folder, room)
        else:
            assert any("--use-sfm-depth" in note for note in reconstruct(folder, room, voxel=None).notes)


@pytest.mark.parametrize("kind", ["views", "colmap", "nerfstudio"])
def test_views_of_a_video_are_named_exactly_like_its_frames(room: Recording, tmp_path: Path, kind: str):
    write = {"views": write_views, "colmap": write_colmap, "nerfstudio": write_nerfstudio}[kind]
    depth = {"points": 100} if kind == "colmap" else {}
    video = replace(color_alone(room), source_format="video", names=tuple(f"frame-{k:06d}" for k in range(len(room))))

    def named(form: str) -> Recording:
        return replace(room, names=tuple(form.format(k + 1) for k in range(len(room))))

    for n, form in enumerate(("{:04d}", "frame_{:05d}", "out{}", "frame-{:04d}")):  # as ffmpeg and others count, from 1
        folder = write(tmp_path / str(n), named(form), **depth)
        with pytest.raises(InputError, match=r"give the folder of the exported pictures as SOURCE instead of the vid"):
            read_reconstruction(folder, video)
        pictures = replace(color_alone(named(form)), source_format="images")
        given = read_reconstruction(folder, pictures)
        found = given.registered if isinstance(given, SparseModel) else given.keyframes
        np.testing.assert_array_equal(found, range(len(room)))
    folder = write(tmp_path / "same", replace(room, names=video.names), **depth)
    given = read_reconstruction(folder, subset(video, [1, 4, 6]))
    poses = given.views.world_from_camera if isinstance(given, SparseModel) else given.world_from_camera
    np.testing.assert_allclose(poses, poses_of(room)[[1, 4, 6]], atol=1e-6)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pictures_that_exif_turns_are_refused(room: Recording, tmp_path: Path, orientation: int):
    (tmp_path / "pictures").mkdir()
    for k, name in enumerate(room.names):
        exif = Image.Exif()
        exif[0x0112] = orientation if k == 5 else 1
        pixels = np.asarray(room.color[k])
        stored = np.rot90(pixels) if orientation == 6 and k == 5 else pixels
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "pictures" / f"{name}.jpg", exif=exif)
    source = str(tmp_path / "pictures")
    recording = load_recording(
        ingest.fn(str(tmp_path / "store"), "0" * 64, source, IngestSettings(source_format="images"))
    )
    views = write_views(tmp_path / "views", room)
    if orientation == 1:
        assert len(reconstruct(views, recording).points) > 500
        return
    with pytest.raises(InputError, match=r"turn the pictures' pixels first, e.g. `mogrify -auto-orient \*.jpg`"):
        reconstruct(views, subset(recording, [0, 1, 2]))


def test_nothing_known(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        content_digest(tmp_path / "none")
    with pytest.raises(InputError, match="no reconstruction that is known"):
        content_digest(tmp_path)


def test_engine_and_path_belong_together(room: Recording, tmp_path: Path):
    given = ReconstructSettings(reconstruction=str(write_views(tmp_path, room)))
    for posed in (True, False):
        assert engine_for(given, posed) == "imported"
    assert build_reconstructor(given, room, seed=0).name == "imported"
    for engine in ("posed-rgbd", "colmap"):
        with pytest.raises(InputError, match="would not use it"):
            check_settings(given.model_copy(update={"engine": engine}), engine)
    with pytest.raises(InputError, match="needs --reconstruction PATH"):
        build_reconstructor(ReconstructSettings(engine="imported"), room, seed=0)


def test_the_digest_is_the_contents(room: Recording, tmp_path: Path):
    write_views(tmp_path / "views", room, [0, 1])
    write_colmap_depth(write_colmap(tmp_path / "colmap", room), room, "npy")
    write_nerfstudio(tmp_path / "nerfstudio", room)
    seen = set()
    for folder in ("views", "colmap", "nerfstudio"):
        first = inputs_digest(ReconstructSettings(reconstruction=str(tmp_path / folder)), "imported")
        shutil.copytree(tmp_path / folder, tmp_path / "copy" / folder)
        (tmp_path / "copy" / folder / "notes.txt").write_text("nobody reads this")
        copied = ReconstructSettings(reconstruction=str(tmp_path / "copy" / folder))
        assert inputs_digest(copied, "imported") == first
        changed = max(p for p in (tmp_path / "copy" / folder).rglob("*") if p.suffix in (".npz", ".npy"))
        changed.write_bytes(changed.read_bytes()[:-1] + b"!")
        assert inputs_digest(copied, "imported") != first
        seen |= {first, inputs_digest(copied, "imported")}
    csv = tmp_path / "positions.csv"
    csv.write_text("a,1,2,3\n")
    for reconstruction in (None, str(tmp_path / "views")):
        settings = ReconstructSettings(reconstruction=reconstruction, scale_from=f"positions:{csv}")
        seen.add(inputs_digest(settings, "imported"))
    assert len(seen) == 8
    assert all(digest and len(digest) == 64 for digest in seen)
