"""Scenes with ground truth: where they come from, and how they become records."""
