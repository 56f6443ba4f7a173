"""A planned stage against a real training step: what was counted is measured, and the plan adjusted to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from typing import Any

from medseg.errors import InputError
from medseg.preprocessing.planning import Stage
from medseg.shapes import IntTriple

ROUNDS = 5  # of planning and measuring; each takes seconds
CLOSE = 0.9  # a step that takes this share of what may be taken, or of what was counted, is not planned anew
OVERFLOW = 1.4  # how much more than counted a step is taken to need that ran out of memory

Meter = Callable[[dict[str, Any], IntTriple, int], float | None]
"""Settings of a network, patch and batch to the MiB that a step took; `inf`: out of memory; None: not measured."""


@dataclass(frozen=True)
class Measured:
    """A stage and what a real step of it took; `mib` is None where nothing was measured."""

    stage: Stage
    mib: float | None
    reason: str


def measured_stage(make: Callable[[float], Stage], meter: Meter, limit_mib: float, where: str) -> Measured:
    """The largest stage of which a real step was seen to fit.

    A step that takes more than it may is planned anew with the count corrected by what was measured, and so is one that
    leaves much of the memory free because the count was too high.

    Args:
        make: the stage if every count is multiplied by a factor.
        meter: what a step takes.
        limit_mib: what it may take.
        where: the device's name, for the reason.

    Raises:
        InputError: no step fits, not even one of the smallest patch.
    """
    first = stage = make(1.0)
    factor, best, tried = 1.0, None, set()
    for _ in range(ROUNDS):
        tried.add((stage.patch, stage.batch))
        mib = meter(stage.network, stage.patch, stage.batch)
        if mib is None:
            return Measured(first, None, "not measured: no GPU")
        counted = stage.estimate_mib / factor
        factor = factor * OVERFLOW if mib == inf else mib / counted
        fits = mib <= limit_mib
        if fits and (best is None or _size(stage) > _size(best.stage)):
            best = Measured(stage, mib, _reason(first, stage, mib, counted, where))
        if fits and (mib >= CLOSE * limit_mib or factor >= CLOSE):
            break
        try:
            stage = make(factor)
        except InputError:
            if best is None:
                raise
            break
        if (stage.patch, stage.batch) in tried:
            break
    if best is None:
        raise InputError(f"no step of the planned network fits into the memory of {where}", where="--vram",
                         expected=f"at most {limit_mib / 1024:.1f} GiB a step",
                         do="Free the memory that other programs hold, or ask for less with --vram.")  # fmt: skip
    return best


def _size(stage: Stage) -> tuple[int, int]:
    return prod(stage.patch), stage.batch


def _reason(first: Stage, stage: Stage, mib: float, counted: float, where: str) -> str:
    facts = f"a real step on {where} took {mib / 1024:.2f} GiB where {counted / 1024:.2f} were counted"
    if _size(stage) == _size(first):
        return facts
    was = f"{_times(first.patch)} voxels, batch {first.batch}"
    return facts + f"; {'smaller' if _size(stage) < _size(first) else 'larger'} than first planned ({was})"


def _times(shape: IntTriple) -> str:
    return " x ".join(map(str, shape))
