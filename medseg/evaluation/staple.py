"""STAPLE: how good each reader is and where the structure probably lies, when nobody knows the truth.

Expectation maximisation over patterns of opinions (Warfield, Zou and Wells, IEEE Trans Med Imaging 23:903, 2004). R
readers make at most 2^R patterns (3^R with unread voxels), so an iteration costs the same for a nodule and a body. The
result depends on the domain: its share of marked voxels is the prior. STAPLE may elect one reader, who then has
sensitivity 1 and decides alone; it is a description, never the only reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, xlogy

from medseg.errors import UsageError
from medseg.evaluation.domain import Domain
from medseg.evaluation.patterns import UNREAD, Masks, Patterns, Read, check_masks, count_patterns, map_patterns
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

PERFECT = 0.99999  # sensitivity and specificity of every reader before the first iteration (Warfield 2004)
STARTS = ("votes", "perfect")
TOLERANCE = 1e-10  # largest change of any sensitivity or specificity at which the iteration has converged
MOST_ITERATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Staple:
    """What the iteration found.

    Args:
        sensitivity, specificity: (R,) of each reader against the hidden truth, 0 to 1; NaN where the truth is empty
            (or everything), or where the reader read nothing.
        prior: share of marked opinions on the domain, NaN without voxels.
        probability: (P,) that the structure is there, per pattern of `votes`.
        votes: (P, R) the patterns met, as in `Patterns`.
        iterations: done.
        converged: whether no number changed by more than `TOLERANCE` in the last one.
        voxels: counted.
        domain: where, in words.
    """

    sensitivity: FloatArray
    specificity: FloatArray
    prior: float
    probability: FloatArray
    votes: IntArray
    iterations: int
    converged: bool
    voxels: int
    domain: str

    @property
    def elected(self) -> int | None:
        """The one reader whose mask is the estimate (probability 0.5 and more), voxel by voxel, although the majority's
        is another; None where there is no such reader. Then it is an opinion and no consensus.
        """
        marked, read = self.votes == 1, self.votes != UNREAD
        estimate = self.probability >= 0.5
        if (estimate == (2 * marked.sum(axis=1) > read.sum(axis=1))).all():
            return None
        same = np.flatnonzero((marked == estimate[:, None]).all(axis=0) & read.all(axis=0))
        return int(same[0]) if len(same) == 1 else None

    def at(self, votes: IntArray) -> FloatArray:
        """Probability (P,) that the structure is there, for any patterns of opinions (P, R); NaN where nobody read."""
        posterior = _posterior(votes, self.sensitivity, self.specificity, self.prior)
        return np.where((votes == UNREAD).all(axis=1), np.nan, posterior)

    def as_dict(self) -> dict[str, object]:
        """What stands in `agreement.json`."""
        return {
            "sensitivity": self.sensitivity.tolist(),
            "specificity": self.specificity.tolist(),
            "prior": self.prior,
            "iterations": self.iterations,
            "converged": self.converged,
            "elected": self.elected,
            "voxels": self.voxels,
            "domain": self.domain,
        }


def staple(patterns: Patterns, *, start: str = "votes", most_iterations: int = MOST_ITERATIONS) -> Staple:
    """Sensitivity and specificity of every reader, and the probability of every pattern, from pattern counts.

    An unread voxel says nothing about its reader. Counts are 64-bit integers and sums 64-bit floats, so images of more
    than 2^24 voxels are counted like any other. Nobody marked anything: the probability is 0, the sensitivities NaN.

    Two readers do not determine the model: each start ends at another point of equal likelihood. From three on the
    starts end at the same values.

    Args:
        start: `votes`, the share of readers who marked a voxel is its first probability, as in ITK, whose numbers two
            readers then get as well; `perfect`, every reader begins at 0.99999 (Warfield 2004).

    Raises:
        UsageError: an unknown start.

    >>> votes = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=np.int8)
    >>> found = staple(Patterns(votes, np.array([90, 5, 5]), "whole image"))
    >>> found.sensitivity.round(3).tolist(), found.probability.round(3).tolist()
    ([1.0, 1.0, 0.5], [0.0, 1.0, 1.0])
    """
    if start not in STARTS:
        raise UsageError("no such start of STAPLE", expected="one of " + ", ".join(STARTS), got=repr(start))
    votes, counts = patterns.votes, patterns.counts.astype(np.float64)
    marked, read = (votes == 1).astype(np.float64), (votes != UNREAD).astype(np.float64)
    opinions = float(counts @ read.sum(axis=1))
    prior = float(counts @ marked.sum(axis=1)) / opinions if opinions else float("nan")
    sensitivity = specificity = np.full(patterns.readers, PERFECT if opinions else np.nan)
    probability = marked.sum(axis=1) / read.sum(axis=1)
    if start == "perfect" and opinions:
        probability = _posterior(votes, sensitivity, specificity, prior)
    iterations, converged = 0, False
    while opinions and not converged and iterations < most_iterations:
        before = sensitivity, specificity
        present, absent = probability * counts, (1 - probability) * counts
        with np.errstate(invalid="ignore"):  # 0 / 0: no voxel of that truth was read, which is undefined
            sensitivity = (present @ marked) / (present @ read)
            specificity = (absent @ (read - marked)) / (absent @ read)
        probability = _posterior(votes, sensitivity, specificity, prior)
        iterations += 1
        converged = all(_change(*pair) <= TOLERANCE for pair in zip(before, (sensitivity, specificity), strict=True))
    return Staple(sensitivity, specificity, prior, probability, votes, iterations, converged, patterns.voxels,
                  patterns.domain)  # fmt: skip


def staple_map(
    masks: Masks, read: Read = None, *, spacing_mm: Triple, domain: Domain | None = None
) -> tuple[FloatArray, BoolArray, Staple]:
    """Probability (X, Y, Z) that the structure is there, where anybody read, and how it was found.

    The domain (by default the union dilated by 10 mm) decides what is counted; a voxel beyond it, and one that nobody
    read, is given what its opinions say: 0 where nobody read or marked anything.
    """
    found = staple(count_patterns(masks, read, spacing_mm=spacing_mm, domain=domain))
    probability = map_patterns(masks, read, lambda votes: np.nan_to_num(found.at(votes), nan=0.0))
    shape = np.shape(masks[0])
    known = np.zeros(shape, dtype=bool)
    for where in check_masks(masks, read)[1]:
        known |= True if where is None else where
    return probability, known, found


def _posterior(votes: IntArray, sensitivity: FloatArray, specificity: FloatArray, prior: float) -> FloatArray:
    """Probability (P,) of the structure given each pattern, in logarithms so that many readers do not underflow.

    A reader without a sensitivity or specificity says nothing about that side.
    """
    p, q = np.nan_to_num(sensitivity, nan=0.5), np.nan_to_num(specificity, nan=0.5)
    marked, left = votes == 1, votes == 0
    if not 0 < prior < 1:  # everybody agrees everywhere
        return np.full(len(votes), np.nan_to_num(prior))
    there = np.log(prior) + (xlogy(marked, p) + xlogy(left, 1 - p)).sum(axis=1)
    gone = np.log1p(-prior) + (xlogy(marked, 1 - q) + xlogy(left, q)).sum(axis=1)
    impossible = np.isneginf(there) & np.isneginf(gone)  # never met: perfect readers contradict each other
    there, gone = np.where(impossible, np.log(prior), there), np.where(impossible, np.log1p(-prior), gone)
    return expit(there - gone)


def _change(before: FloatArray, after: FloatArray) -> float:
    return float(np.max(np.abs(np.where(np.isnan(after), 0.0, after - before)), initial=0.0))
