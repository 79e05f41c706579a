"""Kills ``ovseg3r label`` again and again while it segments, and counts how often each frame went through the network.

    python scripts/kill_segment.py SOURCE [--kills 10] [--seed 0] [--json] [OPTIONS OF ovseg3r label]

One store is used throughout: each run goes on where the last was killed (SIGKILL, at a random moment), the final one
to the end. No frame may go through twice but those of the batch in flight at a kill, and what is published must be the
same, byte for byte, as of a run nobody disturbed. Exit code 1 if it is not so. For the learned engines.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from kill_test import published_differences, published_files

from flows.local_server import prefect_server

_RUN = """
import logging, sys
handler = logging.FileHandler(sys.argv.pop(1))
logger = logging.getLogger("ovseg3r.segmentation")
logger.addHandler(handler)
logger.setLevel(logging.DEBUG)
from flows.cli import main
main()
"""
_POLL = 0.002
_LONGEST = 3600  # seconds that all runs together may take


@dataclass(frozen=True)
class Outcome:
    """frames: of the scene. killed: runs that were killed while they segmented. computed: frames that went through the
    network, counted as often as they did. again: those that did more than once. unexcused: those of them that were
    saved already and not of the batch in flight. differences: what is not as in an undisturbed run.
    """

    frames: int
    killed: int
    computed: int
    again: dict[int, int]
    unexcused: tuple[int, ...]
    differences: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="video or folder, as for `ovseg3r label`")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true")
    given, options = parser.parse_known_args()
    with prefect_server(), tempfile.TemporaryDirectory(prefix="kill-segment-") as work:
        label = ["label", str(Path(given.source).resolve()), "--scene-id", "killed", *options, "--json", "--store"]
        outcome = run_all(label, Path(work), given.kills, random.Random(given.seed))  # noqa: S311 - moments, no secrets
    sys.stdout.write(json.dumps(asdict(outcome), indent=1) + "\n" if given.json else f"{outcome}\n")
    return 1 if outcome.unexcused or outcome.differences or outcome.killed < given.kills else 0


def run_all(label: list[str], work: Path, kills: int, rng: random.Random) -> Outcome:
    """An undisturbed run, then the killed ones on another store."""
    plain, store = work / "undisturbed", work / "killed"
    _finish(_start(label, plain, work / "undisturbed.log"))
    frames = sum(map(len, _batches(work / "undisturbed.log")))
    targets = sorted(rng.sample(range(1, frames), kills))
    computed: Counter[int] = Counter()
    unexcused: set[int] = set()
    killed = 0
    for number, target in enumerate([*targets, None]):
        log, before = work / f"{number}.log", _saved(store)
        process = _start(label, store, log)
        if target is None:
            _finish(process)
        else:
            killed += _kill(process, store, max(target, len(before) + 1), rng.random() * 0.05)
        for place, batch in enumerate(_batches(log)):
            computed.update(batch)
            if place > 0:  # the first is the one that was in flight
                unexcused |= before & set(batch)
    again = {frame: times for frame, times in sorted(computed.items()) if times > 1}
    differences = published_differences(published_files(store), published_files(plain))
    return Outcome(frames, killed, computed.total(), again, tuple(sorted(unexcused)), tuple(differences))


def _kill(process: "subprocess.Popen[bytes]", store: Path, saved: int, later: float) -> bool:
    """Kills a run some seconds after so many frames are saved; whether it was still running."""
    while len(_saved(store)) < saved and process.poll() is None:
        time.sleep(_POLL)
    time.sleep(later)
    process.kill()
    process.communicate()
    return process.returncode == -9


def _start(label: list[str], store: Path, log: Path) -> "subprocess.Popen[bytes]":
    full = [sys.executable, "-c", _RUN, str(log), *label, str(store)]
    return subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))  # noqa: S603


def _finish(process: "subprocess.Popen[bytes]") -> None:
    out, err = process.communicate(timeout=_LONGEST)
    if process.returncode:
        raise SystemExit(f"the command fails undisturbed:\n{out.decode()}\n{err.decode()}")


def _saved(store: Path) -> set[int]:
    """The frames whose masks are saved, on their way to the stage's output."""
    return {int(path.stem) for path in store.glob("stages/segment/*/parts/*.npz")}


def _batches(log: Path) -> list[range]:
    """The batches of frames that went into the network, from the log of one run."""
    lines = [line.split() for line in log.read_text().splitlines() if line.endswith("in the network")]
    return [range(int(line[1]), int(line[3]) + 1) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
