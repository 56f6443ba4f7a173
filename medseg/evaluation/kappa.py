"""Agreement beyond chance: Fleiss' kappa, Krippendorff's alpha, Gwet's AC1, and the generalised conformity.

Voxel kappas depend on the field of view: empty background raises them. They are secondary, and reported with the domain
on which they were counted beside Dice and NSD. All come from pattern counts, so they are exact for any image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.evaluation.patterns import UNREAD, Patterns
from medseg.shapes import FloatArray, IntArray

NAN = float("nan")


@dataclass(frozen=True)
class ChanceCorrected:
    """Agreement of the readers of one structure in one case; NaN where undefined.

    Args:
        fleiss: over the voxels that every reader read.
        krippendorff: over the voxels that two or more read.
        gwet_ac1: the same; its chance part also uses voxels that one read.
        conformity: generalised conformity index over pairs of readers, 0 to 1.
        joint_iou: intersection of all readers over their union, 0 to 1; falls with every reader added.
        readers: how many.
        voxels: of the domain that anybody read.
        voxels_all_read: of these, read by everybody.
        domain: in words.
    """

    fleiss: float
    krippendorff: float
    gwet_ac1: float
    conformity: float
    joint_iou: float
    readers: int
    voxels: int
    voxels_all_read: int
    domain: str


def chance_corrected(patterns: Patterns) -> ChanceCorrected:
    """All coefficients of one structure in one case."""
    table, counts = patterns.table, patterns.counts
    complete = table.sum(axis=1) == patterns.readers
    return ChanceCorrected(
        fleiss_kappa(table[complete], counts[complete]),
        krippendorff_alpha(table, counts),
        gwet_ac1(table, counts),
        generalised_conformity(patterns),
        joint_iou(patterns),
        patterns.readers,
        patterns.voxels,
        int(counts[complete].sum()),
        patterns.domain,
    )


def fleiss_kappa(table: IntArray, counts: IntArray | None = None) -> float:
    """Fleiss' kappa (Psychol Bull 76:378, 1971): 1 perfect, 0 chance, negative below it.

    Args:
        table: (N, K) how many readers gave item n the category k; every row has the same sum, of two or more.
        counts: (N,) items with that row, 1 each by default.

    NaN without items, below two readers, and where all ratings are of one category: then there is nothing to correct.

    >>> round(fleiss_kappa(np.array([[0, 2], [2, 0], [1, 1]])), 3)
    0.333
    """
    weights = _weights(table, counts)
    raters = table[0].sum() if len(table) else 0
    if raters < 2 or not weights.sum():
        return NAN
    shares = weights @ table / (weights.sum() * raters)
    disagreement = weights @ _disagreeing(table) / weights.sum()
    return _corrected(disagreement, float(np.sum(shares * (1 - shares))))


def krippendorff_alpha(table: IntArray, counts: IntArray | None = None) -> float:
    """Krippendorff's alpha for nominal categories (Computing Krippendorff's Alpha-Reliability, 2011).

    Args:
        table, counts: as in `fleiss_kappa`, but rows may have different sums: a missing rating is not counted. Rows of
            fewer than two ratings cannot be paired and are left out.

    NaN where nothing can be paired and where all paired ratings are of one category.

    >>> round(krippendorff_alpha(np.array([[1, 1], [0, 2], [2, 0]]), np.array([4, 1, 5])), 3)  # his binary example
    0.095
    """
    weights = _weights(table, counts)
    ratings = table.sum(axis=1)
    paired = (ratings > 1) & (weights > 0)
    table, weights, ratings = table[paired], weights[paired], ratings[paired]
    if not len(table):
        return NAN
    observed = weights @ (_disagreeing(table) * ratings)
    totals = weights @ table
    total = totals.sum()
    expected = np.sum(totals * (total - totals)) / (total - 1)
    return _corrected(observed, float(expected))


def gwet_ac1(table: IntArray, counts: IntArray | None = None) -> float:
    """Gwet's AC1 (Br J Math Stat Psychol 61:29, 2008; missing ratings as in his handbook of 2014).

    Chance is taken from readers who guess, so AC1 stays high where one category prevails: on a large background it
    approaches 1. Arguments as in `krippendorff_alpha`. NaN where nothing can be paired.

    >>> round(gwet_ac1(np.array([[1, 1], [0, 2], [2, 0]]), np.array([4, 1, 5])), 3)
    0.31
    """
    weights = _weights(table, counts)
    ratings = table.sum(axis=1)
    rated, paired = (ratings > 0) & (weights > 0), (ratings > 1) & (weights > 0)
    if not paired.any():
        return NAN
    disagreement = weights[paired] @ _disagreeing(table[paired]) / weights[paired].sum()
    shares = weights[rated] @ (table[rated] / ratings[rated, None]) / weights[rated].sum()
    chance = float(np.sum(shares * (1 - shares))) / (table.shape[1] - 1)
    return _corrected(disagreement, 1 - chance)


def generalised_conformity(patterns: Patterns) -> float:
    """Sum over pairs of readers of what both marked, over the sum of what either marked (Kouwenhoven 2009), 0 to 1.

    A pair counts where both read; NaN where no pair marked anything. It needs no domain.

    >>> votes = np.array([[1, 1, 1], [1, 1, 0]], dtype=np.int8)
    >>> generalised_conformity(Patterns(votes, np.array([2, 1]), ""))  # (3 + 2 + 2) / (3 + 3 + 3)
    0.7777777777777778
    """
    both, either = patterns.overlaps
    pairs = np.triu_indices(patterns.readers, 1)
    total = int(either[pairs].sum())
    return int(both[pairs].sum()) / total if total else NAN


def joint_iou(patterns: Patterns) -> float:
    """Voxels that every reader marked over voxels that any marked, 0 to 1, where all read; NaN where nobody did."""
    complete = (patterns.votes != UNREAD).all(axis=1)
    votes, counts = patterns.votes[complete] == 1, patterns.counts[complete]
    union = int(counts[votes.any(axis=1)].sum())
    return int(counts[votes.all(axis=1)].sum()) / union if union else NAN


def _weights(table: IntArray, counts: IntArray | None) -> FloatArray:
    return np.ones(len(table)) if counts is None else np.asarray(counts, dtype=np.float64)


def _disagreeing(table: IntArray) -> FloatArray:
    """Share (N,) of an item's pairs of ratings that differ; rows of two or more ratings."""
    ratings = table.sum(axis=1)
    return np.sum(table * (ratings[:, None] - table), axis=1) / (ratings * (ratings - 1))


def _corrected(observed: float, expected: float) -> float:
    """1 - observed disagreement over the disagreement expected by chance; NaN where chance cannot disagree."""
    return 1 - float(observed) / expected if expected > 0 else NAN
