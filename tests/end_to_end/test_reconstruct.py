import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Cli, Finished
from tests.rooms import VOXEL


def test_a_reconstruction_is_judged(cli: Cli, small_rooms: dict[str, Path]) -> None:
    room = small_rooms["tum"]
    done = cli.run("reconstruct", room, "--voxel", VOXEL, "--against", room, "--store", "store", "--json")
    assert (done.code, done.err) == (0, "")
    report = done.json()
    assert report["against"]["ate_rmse"] < 1e-9
    assert Path(report["output"].removeprefix("file://"), "zarr.json").is_file()
    folder = cli.folder / "reconstruction-pictures"
    assert json.loads((folder / "report.json").read_text()) == report
    assert all((cli.folder / path).is_file() for path in report["pictures"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["one", "two"], "2 are given"),
        (["one", "--against", "two", "--against-color-intrinsics", "1,2"], "against.color_intrinsics"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(
    here: Callable[..., Finished], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = here("reconstruct", *arguments, "--store", "store")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert sentence in done.err
    assert not (tmp_path / "store").exists()


def test_a_source_that_is_not_there_is_named(cli: Cli) -> None:
    done = cli.run("reconstruct", "nothing", "--store", "store", "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {cli.folder / 'nothing'}: does not exist; check the path.\n"
