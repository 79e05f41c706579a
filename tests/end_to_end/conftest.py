"""The command line as people run it: as a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from tests.rooms import VOXEL, masks_of

PROGRAM = str(Path(sys.executable).with_name("ovseg3r"))


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code and output."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output, which must be JSON and nothing else."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """Runs ``ovseg3r`` in ``folder``.

    server: the address of the Prefect server, or None for a private one. more: variables of the environment.
    """

    folder: Path
    server: str | None
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OVSEG3R_"))}
        return kept | ({} if self.server is None else {"PREFECT_API_URL": self.server}) | self.more

    def start(self, *arguments: str | Path, preexec: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )

    def run(self, *arguments: str | Path, preexec: Callable[[], None] | None = None) -> Finished:
        process = self.start(*arguments, preexec=preexec)
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
        return Finished(process.returncode, out, err)


@pytest.fixture
def cli(tmp_path: Path, prefect_api: str) -> Cli:
    return Cli(tmp_path, prefect_api)


@pytest.fixture
def offline_cli(tmp_path: Path) -> Cli:
    """For commands that need no server, and for those that start one of their own."""
    return Cli(tmp_path, None)


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Runs ``ovseg3r`` in this process, which saves its start: for what is refused before anything begins."""

    def run(*arguments: str | Path) -> Finished:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["ovseg3r", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Finished(end.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def labelled_store(tmp_path_factory: pytest.TempPathFactory, small_rooms: dict[str, Path], prefect_api: str) -> Path:
    """A store with the scene room-7scenes, made by the command line; to be copied by those who write to it."""
    folder = tmp_path_factory.mktemp("labelled")
    room = small_rooms["7scenes"]
    done = Cli(folder, prefect_api).run(
        "label", room, "--masks", masks_of(room), "--voxel", str(VOXEL), "--store", "store"
    )
    assert done.code == 0, done.err
    return folder / "store"


@pytest.fixture
def store(labelled_store: Path, tmp_path: Path) -> Path:
    """A copy of the labelled store, to change."""
    return Path(shutil.copytree(labelled_store, tmp_path / "store"))
