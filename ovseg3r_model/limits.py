"""Limits that guard the machine against absurd input."""

MAX_PIXELS = 100_000_000  # of one picture, depth map or video frame
