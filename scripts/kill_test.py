"""Kills ``ovseg3r label`` in every stage and checks that nothing is lost, half-written or different afterwards.

    python scripts/kill_test.py SOURCE [--kills 30] [--seed 0] [--stages a,b] [--json] [OPTIONS OF ovseg3r label]

Each round has a fresh store. A run is killed with SIGKILL at a random moment of a stage (the stages take turns); what
the catalog then lists must verify. The same command is run again to the end: it must reuse every stage that was
committed, and the published scene must be the same, byte for byte, as that of a run nobody disturbed. Exit code 1 if
a round fails.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.local_server import prefect_server
from storage.catalog import Catalog
from storage.garbage import collect_garbage
from storage.scene_store import SceneStore
from storage.store import Store

STAGES = ("ingest", "segment", "reconstruct", "lift", "superpoints", "publish")  # in the order in which they run
_PROGRAM = (str(Path(sys.executable).with_name("ovseg3r")), "label")
_POLL = 0.002
_LONGEST = 900  # seconds that a run may take


@dataclass(frozen=True)
class Round:
    """One kill and what came of it. moment: seconds into the stage. reused: stages the second run found committed."""

    stage: str
    moment: float
    killed: bool
    reused: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Undisturbed:
    """What an undisturbed run published, as sha256 by file name, and how long each stage took."""

    files: dict[str, str]
    seconds: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="video or folder, as for `ovseg3r label`")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--stages", default=",".join(STAGES), help="to kill in, in turn [default: all]")
    parser.add_argument("--json", action="store_true")
    given, options = parser.parse_known_args()
    stages = given.stages.split(",")
    if not set(stages) <= set(STAGES):
        parser.error(f"--stages: choose among {', '.join(STAGES)}")
    rng = random.Random(given.seed)  # noqa: S311 - moments, no secrets
    with prefect_server(), tempfile.TemporaryDirectory(prefix="kill-test-") as work:
        command = [*_PROGRAM, str(Path(given.source).resolve()), "--scene-id", "killed", *options]
        undisturbed = run_undisturbed(command, Path(work) / "undisturbed")
        rounds = []
        for number in range(given.kills):
            stage = stages[number % len(stages)]
            moment = rng.random() * undisturbed.seconds[stage]
            rounds.append(run_round(command, Path(work) / f"round-{number}", stage, moment, undisturbed))
            if not given.json:
                _progress(number, given.kills, rounds[-1])
    if given.json:
        sys.stdout.write(json.dumps([asdict(r) for r in rounds], indent=1) + "\n")
    else:
        _show(rounds)
    return 1 if any(r.faults for r in rounds) else 0


def run_undisturbed(command: list[str], store: Path) -> Undisturbed:
    """Runs the command once to learn what it publishes and when which stage runs."""
    _complete(command, store)  # a first run compiles kernels and would tell wrong durations
    first = store.rename(store.with_name("warm-up"))
    process = _start(command, store)
    marks = [_when(store.is_dir, process)]
    marks += [_when(lambda stage=stage: _committed(store, stage), process) for stage in STAGES[:-1]]
    _finish(process)
    marks.append(time.monotonic())
    seconds = {stage: after - before for stage, before, after in zip(STAGES, marks, marks[1:], strict=False)}
    files = published_files(store)
    if files != published_files(first):
        raise SystemExit("two undisturbed runs publish different bytes: there is nothing to compare with")
    return Undisturbed(files, seconds)


def run_round(command: list[str], store: Path, stage: str, moment: float, undisturbed: Undisturbed) -> Round:
    """Kills a run ``moment`` seconds into ``stage``, runs it again to the end, and tells every fault found."""
    process = _start(command, store)
    before = STAGES.index(stage)
    _when(lambda: _committed(store, STAGES[before - 1]) if before else store.is_dir(), process)
    time.sleep(moment)
    process.kill()
    process.communicate()
    faults = [f"after the kill: {fault}" for fault in _listed_faults(store)]
    done = {name: _markers(store, name) for name in STAGES[:-1] if _committed(store, name)}
    results = _complete(command, store)
    if [r["status"] for r in results] not in (["published"], ["unchanged"]):
        faults.append(f"the second run says {results[0]['status']}: {results[0]['message']}")
    faults += [f"stage {name} was committed and yet run again" for name in done if _markers(store, name) != done[name]]
    faults += published_differences(published_files(store), undisturbed.files)
    faults += _sweep(store)
    faults += [f"after the second run: {fault}" for fault in _listed_faults(store)]
    if len(Catalog(Store.open(store)).rows(latest_only=False)) != 1:
        faults.append("the catalog does not list the scene once")
    return Round(stage, moment, process.returncode == -9, tuple(done), tuple(faults))


def _start(command: list[str], store: Path) -> "subprocess.Popen[bytes]":
    full = [*command, "--store", str(store), "--json"]
    return subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))  # noqa: S603


def _finish(process: "subprocess.Popen[bytes]") -> list[dict[str, str]]:
    out, err = process.communicate(timeout=_LONGEST)
    if process.returncode:
        raise SystemExit(f"the command fails undisturbed:\n{out.decode()}\n{err.decode()}")
    results: list[dict[str, str]] = json.loads(out)
    return results


def _complete(command: list[str], store: Path) -> list[dict[str, str]]:
    return _finish(_start(command, store))


def _when(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> float:
    """The moment the condition holds or the process has ended."""
    while not condition() and process.poll() is None:
        time.sleep(_POLL)
    return time.monotonic()


def _committed(store: Path, stage: str) -> bool:
    return bool(_markers(store, stage))


def _markers(store: Path, stage: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (store / "stages" / stage).glob("*/commit.json")}


def published_files(store: Path) -> dict[str, str]:
    """sha256 of every file of the published scene, and the digest of its content."""
    opened = Store.open(store)
    (row,) = Catalog(opened).rows()
    published = SceneStore(opened).published(row.scene_id, row.digest)
    if published is None:
        return {}
    folder = store / published.prefix
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {**found, "digest": row.digest, "content": published.content}


def _listed_faults(store: Path) -> list[str]:
    """Everything wrong with what a reader of the catalog sees."""
    opened = Store.open(store)
    return [
        f"scene {row.scene_id} is listed, but: {fault}"
        for row in Catalog(opened).rows(latest_only=False)
        for fault in SceneStore(opened).verify(row.scene_id, row.digest)
    ]


def published_differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return [f"{name} is not as in an undisturbed run" for name in names]


def _sweep(store: Path) -> list[str]:
    """Collects what the kill left behind; a second collection must find nothing."""
    opened = Store.open(store)
    collect_garbage(opened, 0, dry_run=False)
    left = collect_garbage(opened, 0)
    return [f"garbage collection leaves {left.objects} objects behind"] if left.objects else []


def _progress(number: int, of: int, done: Round) -> None:
    state = "; ".join(done.faults) or "identical"
    sys.stderr.write(f"{number + 1}/{of}: {done.stage} + {done.moment:.2f} s: {state}\n")


def _show(rounds: list[Round]) -> None:
    table = Table(title="Killed runs")
    for name in ("moment", "killed", "reused stages", "same bytes after the second run"):
        table.add_column(name, overflow="fold")
    for r in rounds:
        state = "; ".join(r.faults) or "yes"
        killed = "yes" if r.killed else "had ended"
        table.add_row(f"{r.stage} + {r.moment:.2f} s", killed, ", ".join(r.reused) or "-", state)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    good = sum(not r.faults for r in rounds)
    console.print(f"{good} of {len(rounds)} rounds without a fault; {sum(r.killed for r in rounds)} runs were killed")


if __name__ == "__main__":
    sys.exit(main())
