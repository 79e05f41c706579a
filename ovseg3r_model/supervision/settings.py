"""The settings of matching and losses (METHOD 3)."""

from pydantic import Field

from ovseg3r_model.settings import Settings


class LossWeights(Settings):
    """How much each part counts; of the matcher's cost and of the loss alike."""

    classes: float = Field(0.5, ge=0, description="Cross-entropy of the class; the matcher's: 1 - its probability.")
    mask: float = Field(1.0, ge=0, description="Binary cross-entropy of the mask over the view's superpoints.")
    dice: float = Field(1.0, ge=0, description="Dice of the mask over the view's superpoints.")
    centre: float = Field(0.5, ge=0, description="L1 of the box's centre, metres; fully observed instances only.")
    extent: float = Field(0.5, ge=0, description="L1 of the box's size, metres; fully observed instances only.")
    semantic: float = Field(0.5, ge=0, description="Cross-entropy of the superpoints' own classes.")


class SupervisionSettings(Settings):
    vip: bool = Field(
        True,
        description="Compare view by view (METHOD 3); false: all views' annotations at once with the scene-level "
        "predictions, as in the paper's ablation.",
    )
    no_object: float = Field(0.1, ge=0, le=1, description='Weight of "no object" in the class loss.')
    weights: LossWeights = LossWeights()
