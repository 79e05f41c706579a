"""The 2D stage (METHOD 1.2): per view an id map, a name and a score for each instance."""

from ovseg3r_model.segmentation.protocol import Segmenter, build_segmenter, digest_config

__all__ = ["Segmenter", "build_segmenter", "digest_config"]
