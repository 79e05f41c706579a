"""View-wise Instance Partition (METHOD 3): what a network's scene-level predictions are compared with, and how."""
