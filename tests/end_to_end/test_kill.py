import json
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.conftest import Cli
from tests.rooms import VOXEL, masks_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_test.py"


def test_a_killed_run_loses_nothing_and_goes_on(cli: Cli, small_rooms: dict[str, Path]) -> None:
    room = small_rooms["7scenes"]
    kills = ["--kills", "1", "--stages", "superpoints", "--json"]  # in others, see test_object_store and test_sharing
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(room), *kills, "--masks", masks_of(room), "--voxel", str(VOXEL)],
        cwd=cli.folder,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (killed,) = json.loads(done.stdout)
    assert killed["faults"] == []
    assert (killed["stage"], killed["killed"]) == ("superpoints", True)
    assert {"ingest", "segment", "reconstruct", "lift"} <= set(killed["reused"])
