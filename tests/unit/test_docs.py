"""What the documents state as facts is compared with what the program does."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import yaml

from flows.settings import checked
from tasks.plan import STAGE_VERSIONS

ROOT = Path(__file__).parents[2]


def test_the_settings_table_is_the_models() -> None:
    table = subprocess.run(
        [sys.executable, ROOT / "scripts" / "settings_table.py"], capture_output=True, text=True, check=True
    )
    assert table.stdout.strip() in (ROOT / "docs" / "configuration.md").read_text()


def test_the_example_configuration_is_accepted() -> None:
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), re.DOTALL)
    assert example is not None
    assert checked(yaml.safe_load(example.group(1))).pipeline.reconstruct.voxel == 0.02


def test_every_stage_is_explained() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    assert [stage for stage in STAGE_VERSIONS if f"**{stage}**" not in text] == []


def test_links_and_pictures_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_commands_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert importlib.util.find_spec("flows.cli") is not None
    from flows.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.typer_instance.info.name for group in app.registered_groups if group.typer_instance}
    assert set(re.findall(r"^ovseg3r (\w+)", text, re.MULTILINE)) <= known
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", text, re.MULTILINE)) <= targets
