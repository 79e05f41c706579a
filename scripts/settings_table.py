"""The rows of the table in docs/configuration.md, from the models of the settings: printed to standard output."""

import sys
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.settings import LabelParameters


def rows(model: type[BaseModel] = LabelParameters, prefix: str = "", given: BaseModel | None = None) -> Iterator[str]:
    """One Markdown row for each setting, those of nested models under dotted names; ``given``: the model's values where
    it is the default of another."""
    for name, field in model.model_fields.items():
        default = field.default if given is None else getattr(given, name)
        if isinstance(default, BaseModel):
            yield from rows(type(default), f"{prefix}{name}.", default)
        else:
            shown = "(needed)" if default is PydanticUndefined else f"`{default}`"
            yield f"| `{prefix}{name}` | {shown} | {field.description} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")
