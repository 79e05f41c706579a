"""Names of the files that a training leaves beside the model's own."""

HISTORY, CURVES, METRICS = "history.json", "curves.png", "metrics.json"
