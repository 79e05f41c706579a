"""Which network turns names into vectors, and how a name is put to it."""

from typing import Literal

from pydantic import Field, field_validator

from ovseg3r_model.settings import Settings

TextEngine = Literal["auto", "clip", "minilm"]


class TextSettings(Settings):
    engine: TextEngine = Field(
        "auto",
        description="auto: clip where its weights are on this machine, else minilm, which a package of the set-up "
        "brings along.",
    )
    weights: str = Field(
        "clip-vit-base-patch32",
        min_length=1,
        description="For clip: name from `ovseg3r weights list`, or a folder that save_pretrained has written.",
    )
    templates: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="A name is put in place of {} in each of these, and the vectors are averaged; without it, the "
        "engine's own.",
    )

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for template in templates or ():
            if template.count("{}") != 1:
                raise ValueError(f"{template!r} must have one place for a name, written {{}}")
        return templates
