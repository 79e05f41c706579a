import json
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.conftest import Cli
from tests.rooms import VOXEL, masks_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_test.py"


def test_a_killed_run_loses_nothing_and_goes_on(cli: Cli, small_rooms: dict[str, Path]) -> None:
    room = small_rooms["7scenes"]
    kills = ["--kills", "2", "--stages", "reconstruct,publish", "--json"]
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
    rounds = json.loads(done.stdout)
    assert [r["faults"] for r in rounds] == [[]] * 2
    assert [r["stage"] for r in rounds] == ["reconstruct", "publish"]
    assert rounds[0]["killed"]  # the last may have ended by itself
    assert "segment" in rounds[0]["reused"]
    assert "reconstruct" in rounds[1]["reused"]
