"""Reconstructions that another system has made (docs/reconstructions.md): one reader per format, one engine."""
