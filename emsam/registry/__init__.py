"""MLflow: runs are mirrored into it, models are registered in it, champions live in it."""
