"""The network from its settings: the one place that wires it."""

import torch

from ovseg3r_model.network.backbone import Res16UNet
from ovseg3r_model.network.decoder import Decoder
from ovseg3r_model.network.heads import Heads
from ovseg3r_model.network.inputs import input_channels
from ovseg3r_model.network.segmenter import Segmenter
from ovseg3r_model.network.settings import NetworkSettings


def build_network(settings: NetworkSettings, seed: int = 0) -> Segmenter:
    """On the CPU, with random weights that follow from the seed; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Res16UNet(input_channels(settings), settings.backbone)
        heads = Heads(settings.decoder.width, settings.text_channels)
        decoder = Decoder(settings.decoder, heads)
        return Segmenter(backbone, decoder, backbone.out_channels, settings.object_channels)
