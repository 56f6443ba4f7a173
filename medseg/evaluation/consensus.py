"""One mask made of several readers' masks, only ever of readers who are not being compared with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.errors import UsageError
from medseg.shapes import BoolArray, IntArray

TIES = ("marked", "background")
TIE = "marked"  # with two readers left, half of them marking a voxel marks it: their union


def majority(
    masks: Sequence[BoolArray], read: Sequence[BoolArray | None] | None = None, *, tie: str = TIE
) -> tuple[BoolArray, BoolArray]:
    """Majority vote (X, Y, Z) of those who read a voxel, and where anybody read.

    Args:
        masks: (X, Y, Z) each, at least one.
        read: where each read, None for everywhere.
        tie: what an even split of the votes becomes, `marked` or `background`.

    Raises:
        UsageError: no mask, or an unknown tie rule.

    >>> a, b = np.array([[[True, False]]]), np.array([[[True, True]]])
    >>> majority([a, b])[0].tolist(), majority([a, b], tie="background")[0].tolist()
    ([[[True, True]]], [[[True, False]]])
    """
    if not masks or tie not in TIES:
        raise UsageError("no majority", expected="at least one mask, and tie one of " + ", ".join(TIES), got=repr(tie))
    votes: IntArray = np.zeros(masks[0].shape, dtype=np.int16)
    voters: IntArray = np.zeros(masks[0].shape, dtype=np.int16)
    for mask, where in zip(masks, read or [None] * len(masks), strict=True):
        here = np.ones(mask.shape, dtype=bool) if where is None else np.broadcast_to(where, mask.shape)
        votes += mask & here
        voters += here
    marked = 2 * votes >= voters if tie == "marked" else 2 * votes > voters
    return marked & (voters > 0), voters > 0
