"""Scores of an instance segmentation; each variant has its own name, one public function a file."""
