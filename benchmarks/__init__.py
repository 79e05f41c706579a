"""Measurements behind the defaults; each runs with ``python -m benchmarks.<name>`` and prints a Markdown table."""
