"""What a training process uses of its machine, under the names that MLflow's pages group."""

from __future__ import annotations

import time

import psutil
import torch

INTERVAL = 10.0
"""Seconds between two measurements, as MLflow's own monitor has it."""


class ResourceMeter:
    """Measures now and then.

    Parameters
    ----------
    device
        Where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first answer of psutil is always 0
        self._last = time.monotonic()

    def measure(self) -> dict[str, float]:
        """By metric: MB, and per cent of one core; nothing before :data:`INTERVAL` is over."""
        if time.monotonic() - self._last < INTERVAL:
            return {}
        self._last = time.monotonic()
        found = {
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": round(self._process.memory_info().rss / 1e6, 1),
            "system/system_memory_usage_percentage": psutil.virtual_memory().percent,
        }
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            peak = torch.cuda.max_memory_reserved(self._device)
            found |= {
                "system/gpu_memory_usage_percentage": round(100 * (1 - free / total), 1),
                "system/gpu_process_peak_memory_megabytes": round(peak / 1e6, 1),
            }
        return found
