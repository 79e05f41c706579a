"""The network's one configuration, and its named sizes."""

from typing import Literal

from pydantic import Field, model_validator

from ovseg3r_model.settings import Settings

Size = Literal["tiny", "small", "base"]
Norm = Literal["batch", "layer"]


class BackboneSettings(Settings):
    """A sparse U-Net of the MinkUNet family; the defaults are Res16UNet34C, as published."""

    stem: int = Field(32, ge=4, description="Channels of the stem.")
    stem_kernel: Literal[3, 5] = Field(5, description="Kernel of the stem, voxels.")
    planes: tuple[int, ...] = Field(
        (32, 64, 128, 256, 256, 128, 96, 96), min_length=8, max_length=8, description="Channels: four down, four up."
    )
    blocks: tuple[int, ...] = Field(
        (2, 3, 4, 6, 2, 2, 2, 2), min_length=8, max_length=8, description="Residual blocks: four down, four up."
    )
    norm: Norm = Field("batch", description="Normalisation; layer for a batch of little scenes.")


class DecoderSettings(Settings):
    layers: int = Field(6, ge=1, description="Decoder layers.")
    width: int = Field(256, ge=8, description="Channels d of queries and superpoints.")
    heads: int = Field(8, ge=1, description="Attention heads.")
    feed_forward: int = Field(1024, ge=8, description="Channels inside the feed-forward network.")
    object_radius: float = Field(
        1.5, gt=0, description="A query looks at 2D objects no farther from its box than this, metres."
    )
    temperature: float = Field(20.0, gt=1, description="Of the sine position encoding.")
    wavelength: float = Field(0.6, gt=0, description="The position encoding's shortest wavelength, metres.")

    @model_validator(mode="after")
    def _divisible(self) -> "DecoderSettings":
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


class NetworkSettings(Settings):
    """SegDINO3D-VL (METHOD 2)."""

    voxel: float = Field(0.02, gt=0, description="Voxel of the backbone, metres.")
    point_channels: int = Field(0, ge=0, description="Channels of the points' 2D features; 0: without them.")
    object_channels: int = Field(0, ge=0, description="Channels of the 2D objects' features; 0: without them.")
    text_channels: int = Field(384, ge=1, description="Channels of the text encoder.")
    backbone: BackboneSettings = BackboneSettings()
    decoder: DecoderSettings = DecoderSettings()


SIZES: dict[Size, NetworkSettings] = {
    "tiny": NetworkSettings(
        voxel=0.08,
        backbone=BackboneSettings(
            stem=16, stem_kernel=3, planes=(16, 32, 48, 64, 64, 48, 32, 32), blocks=(1,) * 8, norm="layer"
        ),
        decoder=DecoderSettings(layers=3, width=64, heads=4, feed_forward=128),
    ),
    "small": NetworkSettings(
        backbone=BackboneSettings(planes=(32, 48, 64, 96, 96, 64, 64, 64), blocks=(1, 1, 2, 2, 1, 1, 1, 1)),
        decoder=DecoderSettings(layers=4, width=128, heads=4, feed_forward=512),
    ),
    "base": NetworkSettings(),
}
"""tiny: for a CPU, minutes. base: the paper's."""
