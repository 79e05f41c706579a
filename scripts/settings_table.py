"""The tables of docs/configuration.md, from the models of the settings: printed to standard output."""

import os
import sys
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.segment_settings import SegmentParameters
from flows.settings import LabelParameters
from flows.train_settings import TrainParameters
from ovseg3r_model.settings import PipelineSettings

TABLES: dict[str, type[BaseModel]] = {
    "ovseg3r label": LabelParameters,
    "ovseg3r train": TrainParameters,
    "ovseg3r segment": SegmentParameters,
}


def rows(model: type[BaseModel], prefix: str = "", given: BaseModel | None = None) -> Iterator[str]:
    """One Markdown row for each setting, those of nested models under dotted names; ``given``: the model's values where
    it is the default of another."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True) if given is None else getattr(given, name)
        if isinstance(default, PipelineSettings) and model is not LabelParameters:
            yield f"| `{prefix}{name}` | | As for `ovseg3r label`. |"
        elif isinstance(default, BaseModel):
            yield from rows(type(default), f"{prefix}{name}.", default)
        else:
            shown = "(needed)" if default is PydanticUndefined else f"`{default}`"
            yield f"| `{prefix}{name}` | {shown} | {field.description} |"


def tables() -> Iterator[str]:
    """Lines."""
    for command, model in TABLES.items():
        yield from (f"## `{command}`", "", "| setting | default | meaning |", "|---|---|---|", *rows(model), "")


if __name__ == "__main__":
    os.environ.pop("OVSEG3R_STORE", None)  # the table shows what holds without it
    sys.stdout.write("\n".join(tables()).rstrip() + "\n")
