"""Every option of the command line leads to a parameter that exists."""

from inspect import signature

from pydantic import BaseModel

from flows import cli, cli_options
from flows.settings import LabelParameters
from ovseg3r_model.settings import ReferenceSettings

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
