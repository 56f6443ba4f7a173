"""Lesions instead of voxels: components of two masks matched one to one, and what is left over is a miss.

A lesion is a connected component of 26 neighbours (voxels that share a corner belong together). Lesions of two
readings are matched so that the sum of IoU is largest (Hungarian method), and only where the IoU is above a threshold,
0.1 by default: two outlines of one small nodule overlap little, and above 0.5 no choice would be left to make
(Kirillov et al. 2019, Panoptic Segmentation, CVPR). Touching lesions are one component, in every reading alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import cc3d
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from medseg.errors import UsageError
from medseg.evaluation.domain import union_box
from medseg.evaluation.scoring import Pair
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

NAN = float("nan")
FIRST_VOXEL: Box = (slice(0, 1), slice(0, 1), slice(0, 1))


@dataclass(frozen=True)
class LesionRule:
    """What a lesion is and when two are the same one.

    Args:
        iou: two lesions may be matched when their IoU is above this.
        minimum_ml: components smaller than this are no lesions, in no reading; a component just above it may then
            meet one just below and count as missed.

    Raises:
        UsageError: an IoU outside 0 to 1, or a negative size.
    """

    iou: float = 0.1
    minimum_ml: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.iou < 1:
            raise UsageError("no threshold of a match", expected="IoU from 0 up to below 1", got=str(self.iou))
        if not 0 <= self.minimum_ml < np.inf:
            raise UsageError("no smallest lesion", expected="0 ml or more", got=f"{self.minimum_ml} ml")

    def __str__(self) -> str:
        small = f", components below {self.minimum_ml:g} ml left out" if self.minimum_ml else ""
        return f"connected components (26 neighbours){small}, matched one to one where IoU > {self.iou:g}"


DEFAULT_RULE = LesionRule()


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of one mask, of which only marked voxels are kept: a whole CT has few of them.

    Args:
        where: (V,) places of the voxels of all lesions in the flattened mask, ascending.
        number: (V,) the lesion of each, from 0 on.
        voxels: (L,) size of each lesion.
    """

    where: IntArray
    number: IntArray
    voxels: IntArray


@dataclass(frozen=True)
class LesionPair:
    """The lesions of two readings of one structure in one case.

    Two readings without any lesion agree: F1 and panoptic quality are 1 (a case in which nobody has a lesion is left
    out by `lesion_agreement`, not here). One without lesions: 0. `is_missing`: one of the two did not read.

    Args:
        a_ml, b_ml: volume of each lesion.
        matches: place of a lesion in a, of its partner in b, and their IoU.
    """

    label: str
    a: str
    b: str
    a_ml: tuple[float, ...] = ()
    b_ml: tuple[float, ...] = ()
    matches: tuple[tuple[int, int, float], ...] = ()
    is_missing: bool = False

    @property
    def f1(self) -> float:
        """Detection F1, the recognition quality: matched lesions, twice, over all lesions of both."""
        lesions = len(self.a_ml) + len(self.b_ml)
        return NAN if self.is_missing else 2 * len(self.matches) / lesions if lesions else 1.0

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of the matched lesions; NaN without a match."""
        return float(np.mean([iou for _, _, iou in self.matches])) if self.matches else NAN

    @property
    def panoptic_quality(self) -> float:
        """Segmentation quality times F1: the sum of matched IoU over the mean number of lesions."""
        return self.segmentation_quality * self.f1 if self.matches else self.f1

    def sensitivity(self, reference: str) -> float:
        """Share of the reference's lesions that the other one found; NaN where the reference has none."""
        lesions = len(self.lesions_ml(reference))
        return len(self.matches) / lesions if lesions and not self.is_missing else NAN

    def false_positives(self, reference: str) -> float:
        """Lesions of the other one that the reference has not; NaN where one did not read."""
        other = self.b if reference == self.a else self.a
        return NAN if self.is_missing else float(len(self.lesions_ml(other)) - len(self.matches))

    def lesions_ml(self, name: str) -> tuple[float, ...]:
        """Sizes of the lesions of one of the two."""
        return self.a_ml if name == self.a else self.b_ml

    def matched(self, name: str) -> BoolArray:
        """For each lesion of one of the two, whether it has a partner (L,)."""
        partners = {match[0] if name == self.a else match[1] for match in self.matches}
        return np.array([place in partners for place in range(len(self.lesions_ml(name)))], dtype=bool)


def find_lesions(mask: BoolArray, spacing_mm: Triple, rule: LesionRule = DEFAULT_RULE) -> Lesions:
    """The lesions of a mask (X, Y, Z), in the order in which a scan meets them; none for an empty one.

    >>> find_lesions(np.array([[[True, False, True, True]]]), (1.0, 1.0, 1.0)).voxels.tolist()
    [1, 2]
    """
    where = np.flatnonzero(mask)
    if not len(where):
        return Lesions(where, where, where)
    framed = np.pad(mask, 1)  # cc3d 3.2x reserves too few labels for masks one voxel thick and raises
    number = np.asarray(cc3d.connected_components(framed, connectivity=26))[1:-1, 1:-1, 1:-1][mask].astype(np.int64) - 1
    voxels = np.bincount(number)
    kept = voxels >= rule.minimum_ml * 1000.0 / float(np.prod(spacing_mm)) * (1 - 1e-9)
    here = kept[number]
    return Lesions(where[here], (np.cumsum(kept) - 1)[number[here]], voxels[kept])


def match_lesions(a: Lesions, b: Lesions, rule: LesionRule = DEFAULT_RULE) -> list[tuple[int, int, float]]:
    """One-to-one matches (place in a, place in b, IoU) with the largest sum of IoU, each above the threshold."""
    _, in_a, in_b = np.intersect1d(a.where, b.where, assume_unique=True, return_indices=True)
    if not len(in_a):
        return []
    keys, common = np.unique(a.number[in_a] * len(b.voxels) + b.number[in_b], return_counts=True)
    first, second = np.divmod(keys, len(b.voxels))
    iou = common / (a.voxels[first] + b.voxels[second] - common)
    close = iou > rule.iou
    return sorted(_assign(first[close], second[close], iou[close], (len(a.voxels), len(b.voxels))))


def lesion_pair(
    reference: BoolArray, prediction: BoolArray, spacing_mm: Triple, *, rule: LesionRule = DEFAULT_RULE
) -> LesionPair:
    """The lesions of two masks (X, Y, Z), named `reference` and `prediction`.

    >>> one, two = np.array([[[True, False, True]]]), np.array([[[True, False, False]]])
    >>> found = lesion_pair(one, two, (1.0, 1.0, 1.0))
    >>> round(found.f1, 3), found.sensitivity("reference"), found.false_positives("reference")
    (0.667, 0.5, 0.0)
    """
    masks = {"reference": np.asarray(reference, dtype=bool), "prediction": np.asarray(prediction, dtype=bool)}
    return lesion_pairs(masks, spacing_mm, rule=rule)[0]


def lesion_pairs(
    masks: Mapping[str, BoolArray],
    spacing_mm: Triple,
    *,
    rule: LesionRule = DEFAULT_RULE,
    pairs: Iterable[Pair] | None = None,
    read: Mapping[str, BoolArray] | None = None,
    label: str = "",
) -> list[LesionPair]:
    """Matched lesions of named masks (X, Y, Z), one entry per pair; each mask's lesions are found once.

    Args:
        pairs: the pairs wanted, all by default; a name that is not in `masks` is missing.
        read: for a name, where it read; a pair is compared where both read, lesions are cut there for both alike.
    """
    known: dict[tuple[str, bytes], Lesions] = {}

    def lesions(name: str, where: BoolArray | None) -> Lesions:
        key = name, b"" if where is None else where.tobytes()
        if key not in known:
            known[key] = find_lesions(masks[name] if where is None else masks[name] & where, spacing_mm, rule)
        return known[key]

    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    found = []
    for a, b in combinations(masks, 2) if pairs is None else pairs:
        where = _common([(read or {}).get(name) for name in (a, b)])
        if a not in masks or b not in masks or (where is not None and not where.any()):
            found.append(LesionPair(label, a, b, is_missing=True))
            continue
        where = None if where is None or where.all() else where
        one, two = lesions(a, where), lesions(b, where)
        sizes = (tuple((side.voxels * voxel_ml).tolist()) for side in (one, two))
        found.append(LesionPair(label, a, b, *sizes, matches=tuple(match_lesions(one, two, rule))))
    return found


def case_lesions(
    readings: Mapping[str, Reading],
    *,
    labels: Sequence[str] | None = None,
    rule: LesionRule = DEFAULT_RULE,
    pairs: Sequence[Pair] | None = None,
) -> list[LesionPair]:
    """Matched lesions of every structure and pair of one case; the companion of `score_case`, with its rules.

    Args:
        labels: structures, all foreground ones by default.
        pairs: the pairs wanted, all by default.
    """
    if not readings:
        return []
    first = next(iter(readings.values()))
    boxes = {name: reading.boxes() for name, reading in readings.items()}
    wanted = list(combinations(readings, 2)) if pairs is None else list(pairs)
    found: list[LesionPair] = []
    for label in first.label_set.foreground if labels is None else labels:
        here = {name: reading for name, reading in readings.items() if reading.was_read(label)}
        box = union_box([boxes[name].get(label) for name in here]) or FIRST_VOXEL
        masks = {name: reading.mask_in(label, box) for name, reading in here.items()}
        read = {name: where for name, reading in here.items() if (where := reading.known_in(box)) is not None}
        found += lesion_pairs(masks, first.geometry.spacing_mm, rule=rule, pairs=wanted, read=read, label=label)
    return found


def _common(parts: Sequence[BoolArray | None]) -> BoolArray | None:
    known = [part for part in parts if part is not None]
    return None if not known else known[0] if len(known) == 1 else known[0] & known[1]


def _assign(first: IntArray, second: IntArray, iou: FloatArray, sizes: tuple[int, int]) -> list[tuple[int, int, float]]:
    """The best matches, group by group of lesions that overlap: a noisy mask has thousands, each with few rivals."""
    lesions = sizes[0] + sizes[1]
    graph = coo_matrix((np.ones(len(iou)), (first, sizes[0] + second)), shape=(lesions, lesions))
    group = connected_components(graph, directed=False)[1][first]
    order = np.argsort(group, kind="stable")
    found: list[tuple[int, int, float]] = []
    for edges in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(edges) == 1:
            found.append((int(first[edges[0]]), int(second[edges[0]]), float(iou[edges[0]])))
        elif len(edges):
            found += _best(first[edges], second[edges], iou[edges])
    return found


def _best(first: IntArray, second: IntArray, iou: FloatArray) -> list[tuple[int, int, float]]:
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    table = np.zeros((len(rows), len(columns)))
    table[row, column] = iou
    pairs = zip(*linear_sum_assignment(table, maximize=True), strict=True)
    return [(int(rows[r]), int(columns[c]), float(table[r, c])) for r, c in pairs if table[r, c] > 0]
