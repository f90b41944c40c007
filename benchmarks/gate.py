"""False promotions and power of the gate, beside a naive bootstrap of single slices.

Simulated improvements of a candidate on the slices of a test set, an AR(1) process of unit
variance over z in each volume, whose neighbours correlate as the row says::

    OMP_NUM_THREADS=1 python benchmarks/gate.py

Rows "no difference" count promotions where the candidate is no better, in per cent; rows "twice
the noise" where it is better by two standard deviations of a slice. Volume effects: the
improvement differs between volumes with the named standard deviation, "balanced" to 0 over the
volumes of the set, or "random", so that by luck it is not 0 there. The peer draws slices with
replacement and promotes if the 95 % percentile interval lies above 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from _table import Row, options, ratio, show

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.params import GateParams
from emsam.registry.gate_statistics import paired_interval

NOISE = 2.0
"""Improvement that is found, in standard deviations of a slice."""
NAIVE_RESAMPLES = 2000


@dataclass(frozen=True)
class Setting:
    """A test set: slices in all, volumes, correlation of neighbours, effects of volumes."""

    slices: int
    volumes: int
    correlation: float
    effects: float = 0.0
    random: bool = False

    def __str__(self) -> str:
        text = f"{self.slices:3} slices, {self.volumes} volumes, correlation {self.correlation}"
        kind = "random" if self.random else "balanced"
        return text + (f", {kind} volume effects {self.effects}" if self.effects else "")


SETTINGS = (
    *(Setting(n, 1, r) for n in (20, 40, 80, 200) for r in (0.5, 0.7, 0.9)),
    *(Setting(n, 2, r) for n in (40, 80) for r in (0.5, 0.9)),
    *(Setting(n, 4, r) for n in (80, 200) for r in (0.5, 0.9)),
    *(Setting(n, v, 0.7, 0.5, random) for n, v in ((80, 2), (80, 4)) for random in (False, True)),
)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, rows = np.random.default_rng(arguments.seed), []
    for setting in SETTINGS:
        for name, shift in (("no difference", 0.0), ("twice the noise", NOISE)):
            sets = [simulate(rng, setting, shift) for _ in range(arguments.candidates)]
            ours, peer = (100 * sum(map(rule, sets)) / len(sets) for rule in (gate, naive))
            rows.append(
                {"name": f"{name}, {setting}", "ours": ours, "peer": peer,
                 "ratio": ratio(ours, peer), "unit": "% promoted"}
            )  # fmt: skip
            if not arguments.json:
                show(rows[-1:], False, line)
    if arguments.json:
        show(rows, True, line)


def line(row: Row) -> str:
    return f"{row['name']:82} gate {row['ours']:5.1f} %  naive {row['peer']:5.1f} %"


def simulate(rng: np.random.Generator, setting: Setting, shift: float) -> list[np.ndarray]:
    """Improvements of one candidate, an array (slices,) for each volume."""
    effects = setting.effects * rng.normal(size=setting.volumes)
    if not setting.random:
        effects -= effects.mean()
    draw = partial(autoregressive, rng, setting.slices // setting.volumes, setting.correlation)
    return [draw() + shift + effect for effect in effects]


def autoregressive(rng: np.random.Generator, length: int, correlation: float) -> np.ndarray:
    """AR(1) series of unit variance."""
    values = rng.normal(size=length)
    for place in range(1, length):
        fresh = np.sqrt(1 - correlation**2) * values[place]
        values[place] = correlation * values[place - 1] + fresh
    return values


def gate(improvements: list[np.ndarray]) -> bool:
    """Whether the gate's interval lies above 0 (margins and veto could only forbid more)."""
    found = paired_interval(improvements, GateParams())
    return found.blocks >= GateParams().min_blocks and found.low > 0


def naive(improvements: list[np.ndarray]) -> bool:
    """Whether that of a bootstrap of slices does."""
    values = np.concatenate(improvements)
    _, low, _ = block_bootstrap_interval(
        values, np.arange(values.size), block=1, resamples=NAIVE_RESAMPLES
    )
    return low > 0


if __name__ == "__main__":
    main()
