import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.display import show_reconstruction
from flows.generate_labels import run
from flows.reconstruct_only import reconstruct_only
from flows.settings import LabelParameters, checked_reference
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import ReferenceSettings
from storage.store import Store
from tasks.progress import Progress, listening
from tests.rooms import VOXEL

pytestmark = pytest.mark.usefixtures("prefect_api")


def parameters(source: Path, store: str, **pipeline: Any) -> LabelParameters:
    given = {"reconstruct": {"voxel": VOXEL}} | pipeline
    return LabelParameters.model_validate({"sources": [str(source)], "store": store, "pipeline": given})


@dataclass(frozen=True)
class Judged:
    store: str
    room: Path
    folder: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def judged(small_rooms: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A room reconstructed from its own depth and poses, judged by itself."""
    store, folder = f"memory://{secrets.token_hex(8)}", tmp_path_factory.mktemp("judged") / "pictures"
    room = small_rooms["7scenes"]
    report = reconstruct_only(parameters(room, store), ReferenceSettings(source=str(room)), str(folder))
    return Judged(store, room, folder, report)


def test_what_takes_the_truth_has_no_error(judged: Judged) -> None:
    report = judged.report
    assert (report["scene_id"], report["engine"]) == ("room-7scenes", "posed-rgbd")
    assert (report["keyframes"], report["registered"]) == (12, 12)
    assert report["points"] > 5000
    assert report["voxel_size"] == VOXEL
    beside = report["against"]
    assert (beside["matched_by"], beside["matched"], beside["judged_views"]) == ("name", 12, 12)
    assert beside["ate_rmse"] < 1e-9
    assert beside["rotation_median_degrees"] < 1e-6
    assert beside["scale_error"] < 1e-9
    assert beside["depth"] is None
    assert any("reference: Depth is not judged" in note for note in report["notes"])


def test_report_and_pictures_are_written(judged: Judged) -> None:
    assert {path.name for path in judged.folder.iterdir()} == {
        "cloud.png", "clouds.png", "trajectory.png", "report.json",
    }  # fmt: skip
    assert json.loads((judged.folder / "report.json").read_text()) == judged.report
    assert sorted(judged.report["pictures"]) == sorted(map(str, judged.folder.glob("*.png")))


def test_the_table_says_it_all(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    depth = dict.fromkeys(("coverage", "median_relative", "bias", "close", "accurate", "calibration_error"), 0.25)
    rows = [
        {"confidence": 0.95, "within_2_percent": 0.75, "median_error": 0.015, "pixels": 1234.0},
        {"confidence": None, "within_2_percent": None, "median_error": None, "pixels": 0.0},
    ]
    beside = judged.report["against"] | {"depth": depth | {"calibration": rows}}
    show_reconstruction(judged.report | {"against": beside})
    told = capsys.readouterr().out
    for text in ("12 of 12", f"{judged.report['points']:,}", "(by name)", "25.0%", "1.50%", "1,234", "not judged"):
        assert text in told
    assert all(path in told for path in (judged.report["output"], *judged.report["pictures"]))


def test_label_goes_on_from_the_reconstruction(judged: Judged) -> None:
    seen: list[Progress] = []
    with listening(seen.append):
        (result,) = run(parameters(judged.room, judged.store, segment={"engine": "regions"}))
    assert result.status == "published"
    assert {e.stage for e in seen if e.reused} == {"ingest", "reconstruct"}
    prefix = judged.report["output"].removeprefix(judged.store + "/")
    assert Store.open(judged.store).list(prefix)

    seen.clear()
    with listening(seen.append):
        report = reconstruct_only(parameters(judged.room, judged.store))
    assert {e.stage: e.reused for e in seen} == {"ingest": True, "reconstruct": True}
    assert {name: report[name] for name in ("digest", "output", "seconds", "points")} == {
        name: judged.report[name] for name in ("digest", "output", "seconds", "points")
    }
    assert report["pictures"] == []


def test_what_cannot_be_judged_by_is_told_before_the_work(judged: Judged) -> None:
    store = f"memory://{secrets.token_hex(8)}"
    video = judged.room.with_name("video.mp4")
    for reference, sentence in ((video, "has no poses"), (judged.room / "nothing", "does not exist")):
        with pytest.raises(InputError, match=sentence) as told:
            reconstruct_only(parameters(judged.room, store), ReferenceSettings(source=str(reference)))
        assert str(reference) in str(told.value)
    assert Store.open(store).list("stages") == []
    wrong = ReferenceSettings(source=str(judged.room), color_intrinsics=(0, 1, 2, 3))
    with pytest.raises(InputError, match=f"{judged.room}: Intrinsics"):
        reconstruct_only(parameters(judged.room, store), wrong)


def test_a_reference_is_named_or_nothing_is_said_of_it() -> None:
    assert checked_reference({}) is None
    with pytest.raises(InputError, match="add --against"):
        checked_reference({"source_format": "tum"})
    with pytest.raises(InputError, match=r"against\.color_intrinsics"):
        checked_reference({"source": "room", "color_intrinsics": ["1", "2"]})


def test_one_source_at_a_time(small_rooms: dict[str, Path]) -> None:
    given = parameters(small_rooms["tum"], "memory://none")
    several = given.model_copy(update={"sources": (str(small_rooms["tum"]), str(small_rooms["scannet"]))})
    with pytest.raises(InputError, match="2 are given"):
        reconstruct_only(several)


def test_what_the_engine_lacks_is_told_with_the_source(judged: Judged) -> None:
    given = parameters(judged.room, judged.store, reconstruct={"engine": "posed-rgbd"}, ingest={"color_only": True})
    with pytest.raises(InputError, match="posed-rgbd needs") as told:
        reconstruct_only(given)
    assert str(told.value).startswith(str(judged.room))
