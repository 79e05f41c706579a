"""The text files of the ScanNet benchmark's instance segmentation (as its ``evaluate_semantic_instance.py`` has them).

Predictions are a folder with one ``<scene>.txt`` for each scene, a line for each prediction::

    predicted_masks/<scene>_000.txt 33 0.7268

which is a mask's path relative to the folder, a class id and a score. A mask has a line for each of the scene's points:
1 where it is, 0 elsewhere. The ground truth is a folder with one ``<scene>.txt`` for each scene: for each point the
class id * 1000 + the number of the instance, from 1, or 0.

More is refused than by the script: masks of other values than 0 and 1, masks named twice, unknown class ids, links that
lead out of the folder.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Int32, Int64

MAX_POINTS = 50_000_000
"""Of a scene that is read."""

MAX_PREDICTIONS = 10_000
"""Of a scene that is read."""

MASKS = "predicted_masks"
RESULTS = "semantic_instance_evaluation"
"""The file that the script itself leaves among the predictions, without its ending."""

_DIGITS = 9  # of an id, at most
_LINE = 1_000  # bytes of a line of predictions, at most
_ZERO, _ONE = 0x0A30, 0x0A31  # "0\n" and "1\n" as little-endian numbers of two bytes


def scene_names(folder: Path) -> tuple[str, ...]:
    """The scenes of a folder, sorted.

    Raises:
        InputError: there is no such folder, or no scene in it.
    """
    found = [file.stem for file in folder.glob("*.txt") if file.is_file() and file.stem != RESULTS]
    if not found:
        raise InputError(f"{folder}: is no folder with a <scene>.txt for each scene.")
    return tuple(sorted(found))


def read_scenes(predictions: Path, truth: Path, known: Collection[int]) -> Iterator[tuple[Int64, PredictedInstances]]:
    """Every scene that has predictions, sorted by name, with its ground truth; what else has ground truth is not read,
    as by the script. ``known``: the ids of classes that predictions may have.

    Raises:
        InputError: no scene has predictions, one has no ground truth, or a file is not as the format has it.
    """
    for name in scene_names(predictions):
        ids = read_truth(truth / f"{name}.txt")
        yield ids, read_predictions(predictions / f"{name}.txt", len(ids), known)


def read_truth(file: Path) -> Int64:
    """(N,) class id * 1000 + number of the instance of each point.

    Raises:
        InputError: it cannot be read, or has a line that is no such number.
    """
    ids = _integers(_bytes(file, MAX_POINTS * (_DIGITS + 1)), file)
    if not 0 < len(ids) <= MAX_POINTS:
        raise InputError(f"{file}: has {len(ids):,} points; 1 to {MAX_POINTS:,} can be read.")
    return ids


def read_predictions(file: Path, scene_points: int, known: Collection[int]) -> PredictedInstances:
    """The predictions of a scene of N points, in their order. ``known``: the ids of classes that they may have.

    Raises:
        InputError: a file cannot be read or is not as the format has it; says which line.
    """
    listed = _bytes(file, MAX_PREDICTIONS * _LINE).decode("utf-8", errors="replace").splitlines()
    if len(listed) > MAX_PREDICTIONS:
        raise InputError(
            f"{file}: has {len(listed):,} predictions, more than the {MAX_PREDICTIONS:,} that can be read."
        )
    known = frozenset(known)
    masks: dict[Path, int] = {}
    label, score = [], []
    for number, line in enumerate(listed, 1):
        where = f"{file}, line {number}"
        parts = line.split()
        if len(parts) != 3:
            raise InputError(f"{where}: is not a mask's path, a class id and a score with blanks between.")
        mask = _inside(file.parent, parts[0], where)
        if mask in masks:
            raise InputError(f"{where}: names the mask of line {masks[mask]} again; give each prediction a mask file.")
        masks[mask] = number
        label.append(_label(parts[1], known, where))
        score.append(_score(parts[2], where))
    points = [_mask(mask, scene_points) for mask in masks]
    return PredictedInstances.from_points(points, scene_points, np.array(label, np.int64), np.array(score, np.float64))


def write_truth(folder: Path, scenes: Iterable[tuple[str, Int64]]) -> None:
    """A new folder with the ground truth (N,) of each scene; visible only once it is whole.

    Raises:
        InputError: the folder holds something, a scene's name is no file's, or a scene comes twice.
    """
    with _new_folder(folder) as made:
        for name, truth in scenes:
            _write(_file_of(made, name), ("\n".join(map(str, truth.tolist())) + "\n").encode())


def write_predictions(folder: Path, scenes: Iterable[tuple[str, PredictedInstances]]) -> None:
    """A new folder with the predictions of each scene; visible only once it is whole. Scores are read back exactly.

    Raises:
        InputError: the folder holds something, a scene's name is no file's, or a scene comes twice.
    """
    with _new_folder(folder) as made:
        (made / MASKS).mkdir()
        for name, predicted in scenes:
            lines = [
                f"{MASKS}/{name}_{k:03d}.txt {label} {score!r}\n"
                for k, (label, score) in enumerate(zip(predicted.label.tolist(), predicted.score.tolist(), strict=True))
            ]
            _write(_file_of(made, name), "".join(lines).encode())
            for k, points in enumerate(predicted.points):
                mask = np.full(predicted.scene_points, _ZERO, "<u2")
                mask[points] = _ONE
                _write(made / MASKS / f"{name}_{k:03d}.txt", mask.tobytes())


def _bytes(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error
    if len(data) > most:
        raise InputError(f"{file}: has more than the {most:,} bytes that such a file can have.")
    return data


def _integers(data: bytes, file: Path) -> Int64:
    """The numbers, one a line, of 1 to 9 digits and nothing else."""
    data = data.replace(b"\r\n", b"\n")
    text = np.frombuffer(data if data.endswith(b"\n") or not data else data + b"\n", np.uint8)
    end = np.flatnonzero(text == ord("\n"))
    length = np.diff(end, prepend=-1) - 1
    digit = text - np.uint8(ord("0"))  # what comes before "0" wraps around
    if int((digit < 10).sum()) + len(end) != len(text) or not ((length > 0) & (length <= _DIGITS)).all():
        raise InputError(f"{file}, line {_first_wrong(data)}: is no whole number of 1 to {_DIGITS} digits.")
    value = np.zeros(len(end), np.int64)
    for k in range(int(length.max(initial=0))):
        value += np.where(k < length, digit[end - 1 - k], 0) * np.int64(10**k)
    return value


def _first_wrong(data: bytes) -> int:
    """The number of the first line that is not 1 to 9 digits."""
    lines = enumerate(data.split(b"\n"), 1)
    return next(number for number, line in lines if not (line.isdigit() and len(line) <= _DIGITS))


def _mask(file: Path, scene_points: int) -> Int32:
    """The indices of the points where it is 1."""
    data = _bytes(file, 3 * scene_points)
    if len(data) == 2 * scene_points:  # as most are; the quick way
        pairs = np.frombuffer(data, "<u2")
        inside = pairs == _ONE
        if (inside | (pairs == _ZERO)).all():
            return np.flatnonzero(inside).astype(np.int32)
    values = _integers(data, file)
    if len(values) != scene_points:
        raise InputError(f"{file}: has {len(values):,} lines, but the scene has {scene_points:,} points.")
    other = np.flatnonzero(values > 1)
    if len(other):
        raise InputError(f"{file}, line {other[0] + 1}: is {values[other[0]]}; write 1 where the mask is, else 0.")
    return np.flatnonzero(values).astype(np.int32)


def _inside(folder: Path, path: str, where: str) -> Path:
    """The file that a line names, all links followed."""
    given = PurePosixPath(path)
    if given.is_absolute() or ".." in given.parts or "\\" in path or "\0" in path:
        raise InputError(f'{where}: {path!r} is not a path below the folder; write it from there, without "..".')
    found = (folder / given).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise InputError(f"{where}: {path!r} is a link that leads out of the folder; put the file itself in.")
    if not found.is_file():
        raise InputError(f"{where}: there is no file {path!r} in the folder.")
    return found


def _label(text: str, known: Collection[int], where: str) -> int:
    label = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
    if label not in known or label is None:
        raise InputError(f"{where}: {text!r} is not the id of a class that is evaluated here.")
    return label


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not np.isfinite(score):
        raise InputError(f"{where}: the score {text!r} is no finite number.")
    return score


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``folder`` in one step if all goes well, and else is gone."""
    taken = f"{folder}: is there and holds something; name a new folder."
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise InputError(taken)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        made = Path(beside, "made")
        made.mkdir()  # with the usual permissions, which the temporary folder has not
        yield made
        try:
            made.rename(folder)
        except OSError as error:  # someone else was quicker
            raise InputError(taken) from error


def _file_of(folder: Path, name: str) -> Path:
    if not name or name.startswith(".") or name == RESULTS or any(c.isspace() or c in "/\\\0" for c in name):
        raise InputError(f'{name!r} cannot be a scene\'s name: no blanks, no "/", no "." before it, and not {RESULTS}.')
    return folder / f"{name}.txt"


def _write(file: Path, data: bytes) -> None:
    try:
        with file.open("xb") as opened:
            opened.write(data)
    except FileExistsError as error:
        raise InputError(f"The scene {file.stem!r} comes twice.") from error
