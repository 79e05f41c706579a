"""Every option of the command line leads to a parameter that exists."""

from inspect import signature
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from flows import cli, cli_options
from flows.settings import LabelParameters
from ovseg3r_model.settings import ReferenceSettings
from storage.catalog import Catalog
from storage.store import Store
from tests.unit.stored_scenes import row

ELSEWHERE = {"context", "config", "as_json", "pictures"}


def leads_somewhere(path: str, model: type[BaseModel]) -> bool:
    first, _, rest = path.partition(".")
    field = model.model_fields.get(first)
    if field is None or not rest:
        return field is not None
    return isinstance(field.annotation, type) and leads_somewhere(rest, field.annotation)


def test_options_lead_to_parameters() -> None:
    label = set(signature(cli.label).parameters) - ELSEWHERE
    assert label == set(cli_options.LABEL)
    assert set(signature(cli.reconstruct).parameters) - ELSEWHERE - label == set(cli_options.REFERENCE)
    assert [path for path in cli_options.LABEL.values() if not leads_somewhere(path, LabelParameters)] == []
    assert [path for path in cli_options.REFERENCE.values() if not leads_somewhere(path, ReferenceSettings)] == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["labelled_share=0.2"], "none of the 1 scenes to train on names anything"),  # so far: it is chosen
        (["labelled_share=0.2", "coverage=0.9"], "none of 1 published scenes is left to train on"),
        (["labelled_share"], "--min-quality takes NAME=VALUE"),
        (["labelled_share=high"], "--min-quality takes NAME=VALUE"),
    ],
)
def test_train_takes_smallest_quality_figures(tmp_path: Path, given: list[str], says: str) -> None:
    Catalog(Store.open(tmp_path)).add(row(label_histogram={}, quality={"labelled_share": 0.5, "coverage": 0.5}))
    options = [word for text in given for word in ("--min-quality", text)]
    done = CliRunner().invoke(cli.app, ["train", "net", "--store", str(tmp_path), *options])
    assert done.exit_code == 2
    assert says in done.output
