"""Reading recordings: a video, a folder of pictures, or one of four RGB-D layouts."""

from ovseg3r_model.sources.detect import VIDEO_SUFFIXES, has_posed_depth, open_recording, resolve_format
from ovseg3r_model.sources.digest import scene_id_from_name, scene_id_of, source_digest

__all__ = [
    "VIDEO_SUFFIXES", "has_posed_depth", "open_recording", "resolve_format", "scene_id_from_name", "scene_id_of",
    "source_digest",
]  # fmt: skip
