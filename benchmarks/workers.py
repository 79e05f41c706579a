"""Many workers on one object store: they share the scenes, some are killed, and what is published is as if one had
worked alone.

    python -m benchmarks.workers [RECORDING ...] [--scenes 24] [--kills 2] [--outage 60] [--runner dask] [--json]

Small synthetic rooms, or the recordings given (each with masks.json beside it), are labelled by ``ovseg3r label``: by
one process alone; by two processes with folders of their own on one S3 store (moto's server, a process too), of which
one is killed with SIGKILL mid-scene, and another started in its place; and by one process on each runner named. All
must publish every scene once, with the same digests and bytes. --outage: for so many seconds in the shared run the
store is out of reach. Exit code 1 if anything is lost, doubled or different.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ovseg3r_model.rooms import make_room
from storage.catalog import Catalog
from storage.claims import Claims
from storage.errors import StoreError
from storage.scene_store import SceneStore
from storage.store import Store
from tests.rooms import VOXEL, masks_of, write_small_room
from tests.s3_server import Proxy, s3_server

PROGRAM = str(Path(sys.executable).with_name("ovseg3r"))
WORKING = {"ingest", "segment", "reconstruct", "lift", "superpoints", "publish"}
LONGEST = 1800  # seconds that a run may take
_POLL = 0.05


@dataclass
class Run:
    """What came of one way to run. seconds: from the first start to the last end. published_by: scenes by process, in
    the order of their starts, -1 for those of killed ones. kills: scene and stage that a killed process was at."""

    name: str
    seconds: float
    published_by: list[int] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """What all runs have in common. proxy: before the store, to take it away."""

    manifest: Path
    scenes: int
    bucket: str
    proxy: Proxy

    def start(self, name: str, folder: str, *options: str) -> "subprocess.Popen[str]":
        """A process on the store of that name, in a working folder of its own."""
        here = self.manifest.parent / folder
        here.mkdir()
        common = ("--manifest", str(self.manifest), "--voxel", str(VOXEL), "--json")
        command = [PROGRAM, "label", *common, "--store", f"{self.bucket}/{name}", *options]
        with (here / "log").open("w") as log:  # a pipe that nobody reads would fill
            return subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603

    def store(self, name: str) -> Store:
        return Store.open(f"{self.bucket}/{name}")


def main() -> int:
    options = _options()
    with s3_server() as server, Proxy(server.port) as proxy, tempfile.TemporaryDirectory(prefix="workers-") as folder:
        os.environ.update(proxy.environment)
        recordings = options.recordings or _rooms(Path(folder), options.scenes)
        manifest = _manifest(Path(folder), recordings)
        job = Job(manifest, len(recordings), server.bucket("rooms"), proxy)
        runs = _judged(job, options)
    if options.json:
        sys.stdout.write(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    else:
        _show(runs, job.scenes)
    return 1 if any(run.faults for run in runs) else 0


def _judged(job: Job, options: argparse.Namespace) -> list[Run]:
    """All runs, one after the other, each compared with the first."""
    rng = random.Random(options.seed)  # noqa: S311 - moments, no secrets
    ways = [
        lambda: run_alone(job, "threads"),
        lambda: run_shared(job, options.kills, options.outage, rng),
        *(partial(run_alone, job, runner, "--workers", "2") for runner in options.runner),
    ]
    runs: list[Run] = []
    wanted: dict[str, list[dict[str, str]]] = {}
    for way in ways:
        run = way()
        found = published(job.store(run.name))
        wanted = wanted or found
        run.faults += differences(job, found, wanted)
        runs.append(run)
        sys.stderr.write(f"{run.name}: {run.seconds:.1f} s, {len(run.faults)} faults\n")
    return runs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--scenes", type=int, default=24, help="rooms to make where no recordings are given")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--outage", type=float, default=0.0, help="seconds without the store")
    parser.add_argument("--runner", action="append", default=[], choices=("threads", "processes", "dask", "ray"))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def run_alone(job: Job, runner: str, *options: str) -> Run:
    """One process, on a store of its own."""
    name = f"alone-{runner}" + "".join(options)
    start = time.perf_counter()
    process = job.start(name, name, "--runner", runner, *options)
    run = Run(name, 0.0)
    _end(job, run, process, name)
    run.seconds = time.perf_counter() - start
    return run


def run_shared(job: Job, kills: int, outage: float, rng: random.Random) -> Run:
    """Two processes on one store; the second is killed, and another started, ``kills`` times."""
    run, start = Run("shared", 0.0), time.perf_counter()
    steady, other = job.start(run.name, "steady"), job.start(run.name, "killed-0")
    claims = Claims(job.store(run.name))
    for number in range(kills):
        held = _held(claims, other)
        if held is None:
            run.faults.append(f"worker {number} ended before it could be killed")
            break
        time.sleep(rng.random() * 0.3)
        other.kill()
        other.communicate()
        run.kills.append(held)
        run.published_by.append(-1)
        other = job.start(run.name, f"killed-{number + 1}")
    if outage:
        _held(claims, other)
        job.proxy.refuse()
        threading.Timer(outage, job.proxy.allow).start()
    for process, folder in ((steady, "steady"), (other, f"killed-{len(run.kills)}")):
        _end(job, run, process, folder)
    run.seconds = time.perf_counter() - start
    left = [entry.key for entry in job.store(run.name).list("claims")]
    run.faults += [f"claims are left: {left}"] if left else []
    return run


def _held(claims: Claims, process: "subprocess.Popen[str]") -> str | None:
    """The scene and stage that the process is at, once it is at one; None where it ended."""
    while process.poll() is None:
        for holder in claims.holders():
            if holder.process == process.pid and holder.stage in WORKING:
                return f"{holder.scene_id}: {holder.stage}"
        time.sleep(_POLL)
    return None


def _end(job: Job, run: Run, process: "subprocess.Popen[str]", folder: str) -> None:
    """Waits for a process that nobody kills; every scene must be published or found to be so."""
    out, _ = process.communicate(timeout=LONGEST)
    if process.returncode:
        log = (job.manifest.parent / folder / "log").read_text()
        run.faults.append(f"the worker {folder} ended with {process.returncode}: {log[-1000:]} {out[-2000:]}")
        return
    results: list[dict[str, Any]] = json.loads(out)
    counts = Counter(result["status"] for result in results)
    run.published_by.append(counts["published"])
    if counts["published"] + counts["unchanged"] != job.scenes:
        run.faults.append(f"a worker tells {dict(counts)}")


def published(store: Store) -> dict[str, list[dict[str, str]]]:
    """By scene, each of its rows: digests, and sha256 by name of what lies in its folder, without attempts' names."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in Catalog(store).rows(latest_only=False):
        scene = SceneStore(store).published(row.scene_id, row.digest)
        if scene is None:
            raise StoreError(f"{row.scene_id} is listed and not there")
        folder = scene.prefix.rpartition("/")[0]
        files = {
            entry.key.removeprefix(scene.prefix): hashlib.sha256(store.get(entry.key) or b"").hexdigest()
            for entry in store.list(folder)
            if not entry.key.endswith("/commit.json")
        }
        found.setdefault(row.scene_id, []).append({"digest": row.digest, "content": scene.content} | files)
    return found


def differences(job: Job, found: dict[str, list[dict[str, str]]], wanted: dict[str, list[dict[str, str]]]) -> list[str]:
    """What is lost, doubled or other than ``wanted``, a sentence each."""
    faults = [f"{scene_id} is published {len(rows)} times" for scene_id, rows in found.items() if len(rows) != 1]
    faults += [f"{scene_id} is lost" for scene_id in wanted.keys() - found.keys()]
    faults += [] if len(wanted) == job.scenes else [f"{len(wanted)} scenes of {job.scenes} were published alone"]
    for scene_id in wanted.keys() & found.keys():
        (one,), other = wanted[scene_id], found[scene_id][0]
        names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        faults += [f"{scene_id}: {name} differs" for name in names]
    return faults


def _rooms(folder: Path, count: int) -> list[Path]:
    return [write_small_room(make_room(seed), folder / f"{seed:03}", "scannet") for seed in range(count)]


def _manifest(folder: Path, recordings: list[Path]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="") as sink:
        lines = csv.writer(sink)
        lines.writerow(["id", "url", "masks"])
        for number, recording in enumerate(recordings):
            lines.writerow([f"scene-{number:03}", str(recording.resolve()), masks_of(recording.resolve())])
    return path


def _show(runs: list[Run], scenes: int) -> None:
    table = Table(title=f"{scenes} scenes")
    for name in ("run", "seconds", "published by its processes", "killed at", "faults"):
        table.add_column(name)
    for run in runs:
        by = ", ".join("killed" if count < 0 else str(count) for count in run.published_by)
        table.add_row(run.name, f"{run.seconds:.1f}", by, "; ".join(run.kills), "; ".join(run.faults) or "none")
    Console(width=None if Console().is_terminal else 180).print(table)


if __name__ == "__main__":
    sys.exit(main())
