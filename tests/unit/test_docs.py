"""What the documents state as facts is compared with what the program does."""

import importlib.util
import re
import runpy
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from flows.cli import app
from flows.settings import checked, validated
from flows.train_settings import TrainParameters
from tasks.plan import STAGE_VERSIONS

ROOT = Path(__file__).parents[2]


def test_the_settings_table_is_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSEG3R_STORE", raising=False)
    lines = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["tables"]()
    assert "\n".join(lines).strip() in (ROOT / "docs" / "configuration.md").read_text()


def test_the_example_configurations_are_accepted() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    label, train = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert checked(yaml.safe_load(label)).pipeline.reconstruct.voxel == 0.02
    accepted = validated(TrainParameters, yaml.safe_load(train))
    assert (accepted.model.train.steps, accepted.model.train.optimiser.learning_rate) == (5000, 3e-4)  # the size's


def test_options_in_the_page_on_training_exist() -> None:
    """Of the commands, from their help; and the settings that it names, from the table."""
    text = (ROOT / "docs" / "training.md").read_text()
    options = set(re.findall(r"`?(--[a-z][a-z0-9-]+)", text))
    commands = [
        get_command(app).commands[name] for name in ("label", "import", "train", "segment", "evaluate", "models", "gc")
    ]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    assert options - known == {"--logdir", "--shm-size"}  # of tensorboard and docker
    settings = (ROOT / "docs" / "configuration.md").read_text()
    named = set(re.findall(r"`((?:model|schedule|inference)\.(?!json)[a-z_.]+)`", text))
    assert named
    assert [name for name in named if f"`{name}`" not in settings] == []


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
