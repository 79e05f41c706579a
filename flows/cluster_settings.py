"""What a cluster is started with: the settings that ``ovseg3r cluster up`` takes and keeps for the next time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from flows.settings import LabelParameters, validated
from flows.train_settings import TrainParameters
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import Settings

POOL = "ovseg3r"
QUEUES = ("default", "cpu", "gpu")


class ClusterSettings(Settings):
    """What one machine's cluster runs. Nothing secret stands here: it is kept in a file."""

    store: str = Field(description="Folder or URL of the store that scenes and models are published to.")
    host: str = Field("127.0.0.1", min_length=1, description="Address that the server listens on.")
    port: int = Field(4200, ge=1, le=65535, description="Port of the server.")
    workers: int = Field(2, ge=1, le=64, description="Flow runs at the same time on this machine.")
    gpu_slots: int = Field(1, ge=1, le=64, description="GPU stages at the same time on this machine.")
    postgresql: bool = Field(False, description="Whether the database is PostgreSQL; its URL is not kept.")
    every: str | None = Field(None, description="When to look for new sources: cron.")
    sources: tuple[str, ...] = Field((), description="Sources, globs or URLs that the schedule looks at.")
    manifest: str | None = Field(None, description="Manifest that the schedule looks at, instead.")
    label: dict[str, Any] = Field({}, description="Settings of generate-labels, as in its configuration file.")
    train: bool = Field(True, description="Whether a training starts by itself when scenes were published.")
    at_least: int = Field(10, ge=1, description="New scenes that start a training.")
    wait_minutes: float = Field(60.0, ge=0, description="Age of the oldest new scene that starts one, too.")
    training: dict[str, Any] = Field({}, description="Settings of train, as in its configuration file.")

    @property
    def api(self) -> str:
        """The address for processes of this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - it is compared
        return f"http://{host}:{self.port}/api"


def label_parameters(settings: ClusterSettings) -> dict[str, Any]:
    """The parameters that runs of generate-labels start with, as JSON; without sources, where none are given.

    Raises:
        InputError: a value is not usable.
    """
    given: dict[str, Any] = {**settings.label, "store": settings.store}
    given.setdefault("skip_failed", True)
    if settings.sources:
        given["sources"] = settings.sources
    if settings.manifest is not None:
        given["manifest"] = settings.manifest
    named = bool(given.get("sources") or given.get("manifest"))
    checked = validated(LabelParameters, given if named else given | {"sources": ["none yet"]}, "label ")
    values = checked.model_dump(mode="json", exclude_unset=True)
    return values if named else {name: value for name, value in values.items() if name != "sources"}


def train_parameters(settings: ClusterSettings) -> dict[str, Any]:
    """The parameters that trainings start with, as JSON.

    Raises:
        InputError: a value is not usable.
    """
    given = {**settings.training, "store": settings.store}
    return validated(TrainParameters, given, "train ").model_dump(mode="json", exclude_unset=True)


def checked_settings(values: Mapping[str, Any]) -> ClusterSettings:
    """The settings, paths made absolute, as the processes of a cluster run elsewhere.

    Raises:
        InputError: a value is not usable, or a URL holds a password.
    """
    given = dict(values)
    given["sources"] = [_absolute(source) for source in given.get("sources") or ()]
    if given.get("manifest"):
        given["manifest"] = _absolute(given["manifest"])
    settings = validated(ClusterSettings, given)
    if settings.every is not None and not (label_parameters(settings).keys() & {"sources", "manifest"}):
        raise InputError("--every says when to look for new sources, but not where; add --source or --manifest.")
    label_parameters(settings)
    train_parameters(settings)
    return settings


def refuse_secrets(url: str) -> str:
    """The URL itself. Raises InputError for one with a password, which would be seen by all who see the cluster."""
    if "://" in url and urlsplit(url).password is not None:
        parts = urlsplit(url)
        raise InputError(
            f"{parts.scheme}://...@{parts.hostname}: a password does not belong into a URL; give credentials in the "
            "environment of `ovseg3r cluster up`."
        )
    return url


def _absolute(source: str) -> str:
    return refuse_secrets(source) if "://" in source else str(Path(source).expanduser().absolute())
