"""SegDINO3D-VL (METHOD 2): pure modules, wired in `build.py` from `settings.py`."""
