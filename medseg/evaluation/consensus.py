"""One opinion made of several readers' masks, only ever of readers who are not being compared with it.

Every consensus of the table `CONSENSUS` gives, voxel by voxel, how far the structure is there (a boolean mask, or a
share 0 to 1) and where it has an opinion at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.domain import Domain
from medseg.evaluation.patterns import Masks, Read, check_masks
from medseg.evaluation.staple import staple_map
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

TIES = ("background", "foreground", "ignore")
TIE = "foreground"  # of the leave-one-out reference: with two readers left, half of them marking a voxel marks it
Opinion = tuple[BoolArray | FloatArray, BoolArray]
Consensus = Callable[[Masks, Read, Triple], Opinion]


def majority(masks: Masks, read: Read = None, *, tie: str = "background") -> tuple[BoolArray, BoolArray]:
    """Majority vote (X, Y, Z) of those who read a voxel, and where there is a result.

    Args:
        masks: (X, Y, Z) each, at least one.
        read: where each read, None for everywhere.
        tie: what an even split of the votes becomes: `background` (more than half must mark a voxel), `foreground`
            (half is enough) or `ignore` (no result there).

    Raises:
        UsageError: no mask, or an unknown tie rule.

    >>> a, b = np.array([[[True, False]]]), np.array([[[True, True]]])
    >>> majority([a, b])[0].tolist(), majority([a, b], tie="foreground")[0].tolist()
    ([[[True, False]]], [[[True, True]]])
    """
    if not masks or tie not in TIES:
        raise UsageError("no majority", expected="at least one mask, and tie one of " + ", ".join(TIES), got=repr(tie))
    votes, voters = count_votes(masks, read)
    marked = 2 * votes >= voters if tie == "foreground" else 2 * votes > voters
    decided = voters > 0
    if tie == "ignore":
        decided &= 2 * votes != voters
    return marked & decided, decided


def soft_consensus(masks: Masks, read: Read = None) -> tuple[FloatArray, BoolArray]:
    """Share (X, Y, Z) of those who read a voxel that marked it, 0 where nobody read; and where anybody read.

    >>> soft_consensus([np.array([[[True, False]]]), np.array([[[True, True]]])])[0].tolist()
    [[[1.0, 0.5]]]
    """
    votes, voters = count_votes(masks, read)
    return votes / np.maximum(voters, 1), voters > 0


def count_votes(masks: Masks, read: Read = None) -> tuple[IntArray, IntArray]:
    """How many marked each voxel (X, Y, Z), and how many read it.

    Raises:
        UsageError: no mask.
        GeometryError: masks of different shapes.
    """
    checked, known = check_masks(masks, read)
    kind = np.int16 if len(checked) < 1 << 14 else np.int32  # twice a count must fit
    votes, voters = np.zeros_like(checked[0], dtype=kind), np.zeros_like(checked[0], dtype=kind)
    for mask, where in zip(checked, known, strict=True):
        votes += mask if where is None else mask & where
        voters += True if where is None else where
    return votes, voters


def staple_consensus(masks: Masks, read: Read, spacing_mm: Triple, *, domain: Domain | None = None) -> Opinion:
    """STAPLE probability (X, Y, Z) and where anybody read; see `staple_map`."""
    probability, known, _ = staple_map(masks, read, spacing_mm=spacing_mm, domain=domain)
    return probability, known


def _majority(masks: Masks, read: Read, spacing_mm: Triple, *, tie: str) -> Opinion:
    return majority(masks, read, tie=tie)


def _soft(masks: Masks, read: Read, spacing_mm: Triple) -> Opinion:
    return soft_consensus(masks, read)


CONSENSUS: dict[str, Consensus] = {
    "majority": partial(_majority, tie="background"),
    "majority_foreground": partial(_majority, tie="foreground"),
    "majority_ignore": partial(_majority, tie="ignore"),
    "soft": _soft,
    "staple": staple_consensus,
}


def leave_one_out(
    masks: Mapping[str, BoolArray],
    rule: str = "majority",
    *,
    spacing_mm: Triple,
    read: Mapping[str, BoolArray] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Opinion]:
    """For every reader the consensus of all the others: what that reader and a model may both be compared with.

    Args:
        masks: one per reader (X, Y, Z).
        rule: key of `CONSENSUS`.
        read: where a reader read, for those who did not read everything.
        names: readers to leave out, all by default.

    A reader without others is left out: there is nothing to compare with.

    Raises:
        UsageError: no such rule.
    """
    if rule not in CONSENSUS:
        raise UsageError("no such consensus", expected="one of " + ", ".join(CONSENSUS), got=repr(rule))
    found: dict[str, Opinion] = {}
    for name in masks if names is None else names:
        others = [other for other in masks if other != name]
        if others:
            known = [(read or {}).get(other) for other in others]
            found[name] = CONSENSUS[rule]([masks[other] for other in others], known, spacing_mm)
    return found
