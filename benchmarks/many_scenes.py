"""What orchestration costs in a run of many scenes of some length: the share of it that is not the stages' own.

    python -m benchmarks.many_scenes [RECORDING] [--scenes 100] [--frames 30] [--json]

A recording in the layout of 7-Scenes, or a synthetic room filmed for it, is cut into overlapping pieces, which are
labelled (``--segment regions``) by the stages as plain functions and by the flow, each a process of its own on a new
store. Both label the first piece alone before, so that what each scene more takes is told apart from the start. Besides
seconds, the CPU seconds of the process and of what it started: another program's load is in the former alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.orchestration import BARE, command
from ovseg3r_model.errors import InputError
from ovseg3r_model.rooms import make_room, write_room

_WAYS = (BARE, "threads")
_SIZE = (640, 480)


@dataclass(frozen=True)
class Cost:
    """Of a process that labels so many scenes: seconds, and CPU seconds of it and what it started."""

    way: str
    scenes: int
    seconds: float
    cpu: float


def main() -> None:
    options = _options()
    try:
        costs = measure(options.recording, options.scenes, options.frames)
    except InputError as error:
        sys.exit(f"error: {error}")
    if options.json:
        sys.stdout.write(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    else:
        _show(costs, options.frames)


def measure(recording: Path | None, scenes: int, frames: int) -> list[Cost]:
    """Of one scene and of all, each by the stages alone and by the flow. recording: else a room is filmed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pieces = cut(recording or _film(folder, scenes + frames - 1), folder / "pieces", scenes, frames)
        for way in _WAYS:  # compiles, and makes the server's database, for all that come
            _cost(folder, way, pieces[:1])
        return [_cost(folder, way, some) for some in (pieces[:1], pieces) for way in _WAYS]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", type=Path)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--frames", type=int, default=30, help="of a scene")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.scenes < 2 or options.frames < 2:
        parser.error("--scenes and --frames must be 2 at least")
    return options


def _film(folder: Path, frames: int) -> Path:
    return write_room(make_room(0), folder / "room", "7scenes", frames, size=_SIZE).recording


def cut(recording: Path, folder: Path, scenes: int, frames: int) -> list[Path]:
    """So many pieces, two at least, of the recording, no two alike, spread over it: folders of links.

    Raises:
        InputError: the recording is too short.
    """
    poses = sorted(recording.glob("frame-*.pose.txt"))
    free = len(poses) - frames
    if free < scenes - 1:
        needed = scenes + frames - 1
        raise InputError(f"{recording}: has {len(poses)} frames in the layout of 7-Scenes; {needed} are needed.")
    others = [path for path in recording.iterdir() if not path.name.startswith("frame-") and path.is_file()]
    pieces = []
    for number in range(scenes):
        piece = folder / f"piece-{number:03}"
        piece.mkdir(parents=True)
        first = number * free // (scenes - 1)
        for pose in poses[first : first + frames]:
            for path in recording.glob(pose.name.replace("pose.txt", "*")):
                (piece / path.name).symlink_to(path.resolve())
        for path in others:
            shutil.copyfile(path, piece / path.name)
        pieces.append(piece)
    return pieces


def _cost(folder: Path, way: str, pieces: list[Path]) -> Cost:
    store = tempfile.mkdtemp(dir=folder)
    before, start = os.times(), time.perf_counter()
    subprocess.run(command(way, store, [str(piece) for piece in pieces]), check=True)  # noqa: S603 - our own module
    seconds, after = time.perf_counter() - start, os.times()
    shutil.rmtree(store)
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Cost(way, len(pieces), seconds, cpu)


def _show(costs: list[Cost], frames: int) -> None:
    bare_one, flow_one, bare, flow = costs
    table = Table(title=f"{flow.scenes} scenes of {frames} frames, one worker")
    for name in ("", "the stages alone", "the flow", "more", "share"):
        table.add_column(name, justify="right" if name else "left")

    def line(name: str, alone: float, whole: float) -> None:
        table.add_row(name, f"{alone:.2f}", f"{whole:.2f}", f"{whole - alone:+.2f}", f"{whole / alone - 1:+.1%}")

    line("one scene, s", bare_one.seconds, flow_one.seconds)
    line("all scenes, s", bare.seconds, flow.seconds)
    line("all scenes, CPU s", bare.cpu, flow.cpu)
    more = flow.scenes - 1
    line("a scene more, s", (bare.seconds - bare_one.seconds) / more, (flow.seconds - flow_one.seconds) / more)
    Console(width=None if Console().is_terminal else 120).print(table)


if __name__ == "__main__":
    main()
