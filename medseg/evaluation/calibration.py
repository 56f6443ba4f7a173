"""Do probabilities mean what they say: calibration error and Brier score against every reader and against their share.

Both depend on the domain, as empty background is easy: it is stated with every number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.domain import Domain, union_box
from medseg.evaluation.patterns import UNREAD, Masks, Read, check_masks, decode, pattern_codes
from medseg.evaluation.soft_overlap import check_probabilities
from medseg.imaging.labels import count_values
from medseg.imaging.regions import box_of
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

BINS = 10
TOP_LABEL_BINS = 50  # of the CURVAS challenge
AT_ONCE = 1 << 18  # voxels: few enough to stay in the processor's cache
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Calibration:
    """A probability map against R readers on a domain, in B bins of equal width; NaN where nobody read.

    Args:
        ece: (R,) expected calibration error against each reader, 0 to 1; lower is better.
        ece_soft: the same against the share of readers who marked the voxel.
        brier: (R,) mean squared difference to each reader, 0 to 1; lower is better.
        brier_soft: to the share.
        edges: (B + 1,) of the bins; a bin holds its lower edge, the last one both.
        mean_probability: (B,) in each bin, NaN where empty.
        observed: (R, B) share of the bin's voxels that each reader marked.
        observed_soft: (B,) mean share.
        voxels: (B,) in each bin that anybody read.
        domain: in words.
    """

    ece: FloatArray
    ece_soft: float
    brier: FloatArray
    brier_soft: float
    edges: FloatArray
    mean_probability: FloatArray
    observed: FloatArray
    observed_soft: FloatArray
    voxels: IntArray
    domain: str

    def as_dict(self) -> dict[str, object]:
        """What stands in `agreement.json`; readers in their order."""
        return {
            "ece": self.ece.tolist(),
            "ece_soft": self.ece_soft,
            "brier": self.brier.tolist(),
            "brier_soft": self.brier_soft,
            "voxels": int(self.voxels.sum()),
            "domain": self.domain,
            "reliability": {
                "edges": self.edges.tolist(),
                "probability": self.mean_probability.tolist(),
                "observed": self.observed.tolist(),
                "observed_soft": self.observed_soft.tolist(),
                "voxels": self.voxels.tolist(),
            },
        }


def calibration(
    probability: FloatArray,
    masks: Masks,
    read: Read = None,
    *,
    spacing_mm: Triple,
    domain: Domain | None = None,
    bins: int = BINS,
) -> Calibration:
    """Calibration error (Naeini et al., AAAI 2015) and Brier score of a probability map (X, Y, Z).

    Args:
        masks: one per reader (X, Y, Z).
        read: where each reader read, None for everywhere; elsewhere the reader is missing.
        domain: by default the union of the readers dilated by 10 mm; a false alarm beyond it is not seen there.
        bins: of equal width from 0 to 1.

    A domain without voxels: everything NaN.

    Raises:
        InputError: probabilities outside 0 to 1; VoxelError for NaN.
        GeometryError: shapes that differ.
        UsageError: no bin, no mask.
    """
    domain, edges = domain or Domain(), _edges(bins)
    values, groups, votes = _voxels(probability, masks, read, spacing_mm, domain)
    tally = _tally(values, groups, len(votes), edges)
    known = votes != UNREAD
    readers = [_scores(tally, votes[:, r] == 1, known[:, r]) for r in range(len(masks))]
    share = (votes == 1).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    soft = _scores(tally, share, known.any(axis=1))
    voxels = tally.voxels.sum(axis=1)
    return Calibration(
        np.array([scores.ece for scores in readers]),
        soft.ece,
        np.array([scores.brier for scores in readers]),
        soft.brier,
        edges,
        _ratio(tally.sums.sum(axis=1), voxels),
        np.array([scores.observed for scores in readers]),
        soft.observed,
        voxels,
        str(domain),
    )


def top_label_ece(
    probability: FloatArray,
    masks: Masks,
    read: Read = None,
    *,
    spacing_mm: Triple,
    domain: Domain | None = None,
    bins: int = TOP_LABEL_BINS,
) -> FloatArray:
    """Calibration error (R,) of the likelier of structure and background against each reader, as in CURVAS (2024).

    The confidence is the probability of the likelier one (0.5 to 1), the observation whether the reader agrees with it.
    The challenge took the whole image (cropped to the body) and 50 bins. Arguments and errors as in `calibration`.
    """
    values, groups, votes = _voxels(probability, masks, read, spacing_mm, domain or Domain())
    predicted = values > 0.5  # at 0.5 the background wins, the first class there
    confidence = np.where(predicted, values, 1 - values)
    tally = _tally(confidence, 2 * groups + predicted, 2 * len(votes), _edges(bins))
    votes = np.repeat(votes, 2, axis=0)
    said = np.arange(len(votes)) % 2
    return np.array([_scores(tally, votes[:, r] == said, votes[:, r] != UNREAD).ece for r in range(len(masks))])


@dataclass(frozen=True, eq=False)
class _Tally:
    """Voxels, sums and sums of squares of the probability, (B, G) per bin and group of voxels of one pattern."""

    voxels: IntArray
    sums: FloatArray
    squares: FloatArray


@dataclass(frozen=True, eq=False)
class _Scores:
    ece: float
    brier: float
    observed: FloatArray


def _scores(tally: _Tally, target: FloatArray | BoolArray, known: BoolArray) -> _Scores:
    """Scores against a target (G,) over the groups that are known: every sum over voxels is one over a few rows."""
    voxels, sums, squares = tally.voxels[:, known], tally.sums[:, known], tally.squares[:, known]
    wanted = target[known].astype(np.float64)
    total = int(voxels.sum())
    if not total:
        return _Scores(NAN, NAN, np.full(len(voxels), NAN))
    marked = voxels @ wanted
    gaps = np.abs(sums.sum(axis=1) - marked)
    squared = squares.sum() - 2 * (sums @ wanted).sum() + (voxels @ wanted**2).sum()
    return _Scores(float(gaps.sum() / total), float(max(squared, 0.0) / total), _ratio(marked, voxels.sum(axis=1)))


def _voxels(
    probability: FloatArray, masks: Masks, read: Read, spacing_mm: Triple, domain: Domain
) -> tuple[FloatArray, IntArray, IntArray]:
    """Probability (N,) and number of the pattern (N,) of the domain's voxels that anybody read, and votes (P, R)."""
    checked, known = check_masks(masks, read)
    shape = checked[0].shape
    values = check_probabilities(probability, shape)
    everything = slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    union = union_box([box_of(mask) for mask in checked])
    box = everything if domain.margin_mm is None else domain.box(union, shape, spacing_mm)
    if box is None:
        return np.empty(0), np.empty(0, dtype=np.intp), np.empty((0, len(checked)), dtype=np.int8)
    codes = pattern_codes([mask[box] for mask in checked], [None if k is None else k[box] for k in known])
    inside = domain.inside((codes & codes.dtype.type((1 << len(checked)) - 1)) != 0, spacing_mm)
    order = "F" if codes.strides[0] < codes.strides[-1] else "C"
    values = values[box].ravel(order) if inside is None else values[box][inside]
    flat = codes.ravel(order) if inside is None else codes[inside]
    present, _ = count_values(flat)
    votes = decode(present, len(checked))
    nobody = (votes == UNREAD).all(axis=1)
    groups = np.searchsorted(np.array(present, dtype=codes.dtype), flat)
    if nobody.any():
        kept = ~nobody[groups]
        groups, values = (np.cumsum(~nobody) - 1)[groups[kept]], values[kept]
    return values, groups, votes[~nobody]


def _tally(values: FloatArray, groups: IntArray, count: int, edges: FloatArray) -> _Tally:
    bins = len(edges) - 1
    voxels = np.zeros(bins * count, dtype=np.int64)
    sums, squares = np.zeros(bins * count), np.zeros(bins * count)
    for start in range(0, len(values), AT_ONCE):
        block = values[start : start + AT_ONCE].astype(np.float64)
        place = np.searchsorted(edges[1:-1], block, side="right") * count + groups[start : start + AT_ONCE]
        voxels += np.bincount(place, minlength=bins * count)
        sums += np.bincount(place, block, minlength=bins * count)
        squares += np.bincount(place, block**2, minlength=bins * count)
    return _Tally(voxels.reshape(bins, count), sums.reshape(bins, count), squares.reshape(bins, count))


def _edges(bins: int) -> FloatArray:
    if bins < 1:
        raise UsageError("no calibration without bins", expected="1 or more", got=str(bins))
    return np.arange(bins + 1) / bins  # 3 / 10 is the number 0.3; three steps of 0.1 are a little more


def _ratio(top: FloatArray, bottom: IntArray) -> FloatArray:
    """NaN where nothing was counted."""
    return np.where(bottom > 0, top / np.maximum(bottom, 1), NAN)
