"""The benchmark's text files: what is written is what the format says, and what is read is held to it."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.benchmark_files import (
    MAX_PREDICTIONS,
    read_predictions,
    read_scenes,
    read_truth,
    scene_names,
    write_predictions,
    write_truth,
)
from ovseg3r_model.errors import InputError
from ovseg3r_model.predicted_instances import PredictedInstances

KNOWN = (2, 33, 1191)
MASK = "0\n1\n1\n0\n"


def predicted(count: int = 3, points: int = 40, seed: int = 0) -> PredictedInstances:
    rng = np.random.default_rng(seed)
    return PredictedInstances.from_masks(
        rng.random((count, points)) < 0.3,
        rng.choice(KNOWN, count),
        rng.normal(size=count) * 10.0 ** rng.integers(-9, 9),
    )


def given_scene(folder: Path, lines: str = "predicted_masks/a.txt 33 0.7268\n", mask: str | bytes = MASK) -> Path:
    """A scene of 4 points as someone else's program writes it."""
    (folder / "predicted_masks").mkdir(parents=True)
    (folder / "predicted_masks" / "a.txt").write_bytes(mask.encode() if isinstance(mask, str) else mask)
    (folder / "s.txt").write_text(lines)
    return folder / "s.txt"


def test_the_files_are_the_format_s(tmp_path: Path) -> None:
    masks = np.array([[0, 1, 1, 0], [1, 0, 0, 0]], np.bool_)
    of_scene = PredictedInstances.from_masks(masks, np.array([33, 2]), np.array([0.7268, 1e-7]))
    write_predictions(tmp_path / "made", [("scene0011_00", of_scene)])
    write_truth(tmp_path / "truth", [("scene0011_00", np.array([33001, 0, 1191012, 2999]))])
    listed = "predicted_masks/scene0011_00_000.txt 33 0.7268\npredicted_masks/scene0011_00_001.txt 2 1e-07\n"
    assert {file.relative_to(tmp_path).as_posix(): file.read_text() for file in tmp_path.rglob("*.txt")} == {
        "made/scene0011_00.txt": listed,
        "made/predicted_masks/scene0011_00_000.txt": MASK,
        "made/predicted_masks/scene0011_00_001.txt": "1\n0\n0\n0\n",
        "truth/scene0011_00.txt": "33001\n0\n1191012\n2999\n",
    }


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 5), st.integers(1, 60), st.integers(0, 10**6))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, count: int, points: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    scenes = {name: predicted(count, points, seed + k) for k, name in enumerate(("b", "a.1"))}
    truth = {name: np.random.default_rng(seed).integers(0, 10**9, points) for name in scenes}
    write_predictions(folder / "made", scenes.items())
    write_truth(folder / "truth", truth.items())
    assert scene_names(folder / "made") == ("a.1", "b")
    for name, (ids, found) in zip(("a.1", "b"), read_scenes(folder / "made", folder / "truth", KNOWN), strict=True):
        np.testing.assert_array_equal(ids, truth[name])
        for field in ("point", "sizes", "label", "score"):
            np.testing.assert_array_equal(getattr(found, field), getattr(scenes[name], field))


def test_a_large_truth_agrees_with_numpy_s_reader(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 10, 20_000) ** 9
    file = tmp_path / "s.txt"
    np.savetxt(file, ids, fmt="%d")
    np.testing.assert_array_equal(read_truth(file), np.loadtxt(file, np.int64))


@pytest.mark.parametrize("mask", ["0\r\n1\r\n1\r\n0\r\n", "0\n1\n1\n0", "0\r\n1\r\n1\r\n0", "00\n01\n1\n0\n"])
@pytest.mark.parametrize("lines", ["predicted_masks/a.txt 33 0.5", "predicted_masks/./a.txt  33\t5e-1\r\n"])
def test_line_ends_and_blanks_may_be_others(tmp_path: Path, mask: str, lines: str) -> None:
    found = read_predictions(given_scene(tmp_path, lines, mask), 4, KNOWN)
    assert ([part.tolist() for part in found.points], found.label.tolist(), found.score.tolist()) == (
        [[1, 2]], [33], [0.5],
    )  # fmt: skip


def test_the_script_s_own_result_is_no_scene_and_scenes_without_predictions_are_not_read(tmp_path: Path) -> None:
    given_scene(tmp_path / "made")
    (tmp_path / "made" / "semantic_instance_evaluation.txt").write_text("class,class id,ap,ap50,ap25\n")
    write_truth(tmp_path / "truth", [("s", np.arange(4)), ("other", np.arange(9))])
    assert scene_names(tmp_path / "made") == ("s",)
    assert len(list(read_scenes(tmp_path / "made", tmp_path / "truth", KNOWN))) == 1


@pytest.mark.parametrize(("lines", "message"), [
    ("predicted_masks/a.txt 33\n", "line 1: is not a mask's path, a class id and a score"),
    ("predicted_masks/a.txt 33 0.5 7\n", "line 1: is not a mask's path"),
    ("\n", "line 1: is not a mask's path"),
    ("predicted_masks/a.txt 33 0.5\npredicted_masks/./a.txt 2 0.4\n", "line 2: names the mask of line 1 again"),
    ("predicted_masks/a.txt 34 0.5\n", "line 1: '34' is not the id of a class"),
    ("predicted_masks/a.txt 33.0 0.5\n", "line 1: '33.0' is not the id"),
    ("predicted_masks/a.txt -33 0.5\n", "line 1: '-33' is not the id"),
    ("predicted_masks/a.txt ３３ 0.5\n", "is not the id"),
    ("predicted_masks/a.txt 33 nan\n", "line 1: the score 'nan' is no finite number"),
    ("predicted_masks/a.txt 33 1e999\n", "the score '1e999' is no finite number"),
    ("predicted_masks/a.txt 33 high\n", "the score 'high' is no finite number"),
    ("/etc/hostname 33 0.5\n", "line 1: '/etc/hostname' is not a path below the folder"),
    ("../s.txt 33 0.5\n", r"'\.\./s\.txt' is not a path below"),
    ("predicted_masks/../predicted_masks/a.txt 33 0.5\n", "is not a path below"),
    ("predicted_masks\\a.txt 33 0.5\n", "is not a path below"),
    ("predicted_masks/b.txt 33 0.5\n", "there is no file 'predicted_masks/b.txt'"),
    ("predicted_masks 33 0.5\n", "there is no file 'predicted_masks'"),
    ("x\0y 33 0.5\n", "is not a path below"),
    ("predicted_masks/a.txt 33 0.5\n" * (MAX_PREDICTIONS + 1), "has 10,001 predictions, more than the 10,000"),
])  # fmt: skip
def test_a_line_that_is_not_as_it_should_be_is_named(tmp_path: Path, lines: str, message: str) -> None:
    file = given_scene(tmp_path, lines)
    with pytest.raises(InputError, match=re.escape(str(file)) + f".*{message}"):
        read_predictions(file, 4, KNOWN)


@pytest.mark.parametrize(("mask", "message"), [
    ("0\n1\n1\n", "has 3 lines, but the scene has 4 points"),
    ("0\n1\n1\n0\n1\n", "has 5 lines"),
    ("", "has 0 lines"),
    ("0\n1\n2\n0\n", "line 3: is 2; write 1 where the mask is"),
    ("0\n1\n\n0\n", "line 3: is no whole number"),
    ("0\n1\n1.0\n0\n", "line 3: is no whole number"),
    ("0\n-1\n1\n0\n", "line 2: is no whole number"),
    ("0 1\n1\n0\n", "line 1: is no whole number"),
    ("0\n1\n1\nx\n", "line 4: is no whole number"),
    (b"\x000\n1\n1\n", "line 1: is no whole number"),
    ("1\n" * 100, "has more than the 12 bytes"),
])  # fmt: skip
def test_a_mask_that_is_not_as_it_should_be_is_named(tmp_path: Path, mask: str | bytes, message: str) -> None:
    file = given_scene(tmp_path, mask=mask)
    with pytest.raises(InputError, match=f"a.txt.* {message}"):
        read_predictions(file, 4, KNOWN)


@pytest.mark.parametrize(("text", "message"), [
    ("", "has 0 points"),
    ("1\n1234567890\n", "line 2: is no whole number of 1 to 9 digits"),
    ("1\n-1\n", "line 2: is no whole number"),
    ("1\n2 3\n", "line 2: is no whole number"),
    ("1\n1e3\n", "line 2: is no whole number"),
])  # fmt: skip
def test_ground_truth_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_truth(tmp_path / "s.txt")


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        read_truth(tmp_path / "none.txt")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="is no folder with"):
            scene_names(folder)
    given_scene(tmp_path / "made")
    with pytest.raises(InputError, match=r"truth/s\.txt: cannot be read"):
        list(read_scenes(tmp_path / "made", tmp_path / "truth", KNOWN))


@pytest.mark.parametrize("folder", [False, True])
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, folder: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "m.txt").write_text(MASK)
    file = given_scene(tmp_path / "made", "more/m.txt 33 0.5\n")
    if folder:
        (tmp_path / "made" / "more").symlink_to(outside)
    else:
        (tmp_path / "made" / "more").mkdir()
        (tmp_path / "made" / "more" / "m.txt").symlink_to(outside / "m.txt")
    with pytest.raises(InputError, match=r"'more/m\.txt' is a link that leads out of the folder"):
        read_predictions(file, 4, KNOWN)


def test_a_link_to_another_mask_of_the_folder_is_that_mask(tmp_path: Path) -> None:
    file = given_scene(tmp_path, "predicted_masks/b.txt 33 0.5\n")
    (tmp_path / "predicted_masks" / "b.txt").symlink_to("a.txt")
    assert read_predictions(file, 4, KNOWN).points[0].tolist() == [1, 2]


def test_nothing_is_left_of_a_writing_that_failed(tmp_path: Path) -> None:
    def breaks() -> Iterator[tuple[str, PredictedInstances]]:
        yield "a", predicted()
        raise RuntimeError("the network fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_predictions(tmp_path / "made", breaks())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_truth(tmp_path / "made", [("a", np.arange(3))])  # an empty one may be there
    held = (tmp_path / "made" / "a.txt").read_text()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    asked = []
    for taken in ("made", "file", "link"):
        with pytest.raises(InputError, match=f"{taken}: is there and holds something"):
            write_truth(tmp_path / taken, (asked.append(name) or (name, np.arange(3)) for name in "b"))
    assert not asked  # it is found out before the work is done
    assert (tmp_path / "made" / "a.txt").read_text() == held
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "made"]


def test_what_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    def overtaken() -> Iterator[tuple[str, np.ndarray]]:
        yield "a", np.arange(3)
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "mine").write_text("mine")

    with pytest.raises(InputError, match="is there and holds something"):
        write_truth(tmp_path / "made", overtaken())
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "mine"]


def test_the_new_folder_is_as_readable_as_any(tmp_path: Path) -> None:
    write_truth(tmp_path / "new" / "truth", [("a", np.arange(3))])
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "new" / "truth").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("name", ["", ".a", "a b", "a/b", "..", "a\\b", "semantic_instance_evaluation", "a\n"])
def test_a_name_that_is_no_file_s_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a scene's name"):
        write_predictions(tmp_path / "made", [(name, predicted())])
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The scene 'a' comes twice"):
        write_predictions(tmp_path / "made", [("a", predicted()), ("a", predicted())])
