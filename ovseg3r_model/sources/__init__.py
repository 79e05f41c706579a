"""Reading recordings: a video, a folder of pictures, or one of four RGB-D layouts."""

from ovseg3r_model.sources.detect import detect_format, open_recording
from ovseg3r_model.sources.digest import scene_id_of, source_digest

__all__ = ["detect_format", "open_recording", "scene_id_of", "source_digest"]
