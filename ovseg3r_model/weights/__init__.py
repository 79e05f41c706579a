"""Pretrained weights of the learned engines: which are known, where they lie on this machine, what they hold."""

from ovseg3r_model.weights.local import content_digest, find, weights_home, what_inputs_lack
from ovseg3r_model.weights.registry import KNOWN, KnownWeights

__all__ = ["KNOWN", "KnownWeights", "content_digest", "find", "weights_home", "what_inputs_lack"]
