"""EM-SAM: fine-tune, judge, promote and use segmentation models of electron-microscopy images."""

__version__ = "0.1.0"
