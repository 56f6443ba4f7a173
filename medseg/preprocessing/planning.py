"""What a data set asks for: spacing, patch, batch and depth of the network, each with its reason.

The rules are nnU-Net's (Isensee et al., Nature Methods 18, 2021, supplement), because years of use have not found
better ones; what differs is that memory is counted for the network at hand instead of a table, and every decision says
why it was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from medseg.config import Config
from medseg.errors import InputError
from medseg.preprocessing.plan import Fingerprint
from medseg.shapes import FloatArray, IntTriple, Triple

ANISOTROPIC = 3.0  # thick slices: this many times the other voxel sizes, and as many times fewer voxels
FIRST_VOXELS = 256**3  # the search begins with a patch this large and makes it smaller until it fits
SMALLEST_BATCH = 2  # batch Dice and the order of cases need two patches a step
BATCH_SHARE = 0.05  # of all voxels of the data set: more per step would be the same patches again
LOW_RESOLUTION_SHARE = 0.25  # a patch that sees less of the median case gets a coarser stage before it
COARSER = 1.03  # by how much the coarser stage's spacing grows per step of its search

PERCENTILES, HU_PERCENTILES = (0, 10, 50, 90, 100), (0.5, 5, 50, 95, 99.5)
Cost = Callable[[dict[str, Any], IntTriple, int], float]  # settings of the network, patch, batch -> MiB
Design = Callable[[IntTriple, Triple], tuple[dict[str, Any], IntTriple]]  # patch, spacing -> settings, multiple


@dataclass(frozen=True)
class Stage:
    """One network: its grid, what it sees at once, its settings and the memory that a step should take."""

    spacing_mm: Triple
    median_shape: IntTriple
    patch: IntTriple
    batch: int
    network: dict[str, Any]
    estimate_mib: float
    reasons: dict[str, str]

    @property
    def seen(self) -> float:
        """Share of the median case's voxels that one patch holds, at most 1."""
        return min(1.0, prod(self.patch) / prod(self.median_shape))


def choose_spacing(prints: Sequence[Fingerprint]) -> tuple[Triple, str]:
    """The grid that cases are brought to, in mm, and why.

    The median; where slices are thick (3 times the other voxel sizes and 3 times fewer), along that axis the 10th
    percentile, so that the thin-sliced cases lose less, yet never finer than the other axes.
    """
    spacings = np.array([each.spacing_mm for each in prints])
    median = np.median(spacings, axis=0)
    shape = median_shape(prints, tuple(median))
    axis = int(median.argmax())
    others = [other for other in range(3) if other != axis]
    thick = median[axis] > ANISOTROPIC * max(median[others])
    few = shape[axis] * ANISOTROPIC < min(shape[other] for other in others)
    reason = f"median of {len(prints)} training cases"
    if thick and few:
        median[axis] = max(float(np.percentile(spacings[:, axis], 10)), float(max(median[others])))
        name = "XYZ"[axis]
        reason += f"; along {name}, where voxels are more than {ANISOTROPIC:g} times as large, their 10th percentile"
    x, y, z = (round(float(mm), 4) for mm in median)
    return (x, y, z), reason


def median_shape(prints: Sequence[Fingerprint], spacing_mm: Triple | tuple[float, ...]) -> IntTriple:
    """Voxels of the median case (cut to the body where the plan does so) on a grid of this spacing."""
    shapes = [np.array(each.shape) * each.spacing_mm / spacing_mm for each in prints]
    x, y, z = (max(1, round(float(n))) for n in np.median(shapes, axis=0))
    return x, y, z


class Spread(Config):
    """Percentiles over the cases, along X, Y, Z each by itself."""

    least: Triple
    p10: Triple
    median: Triple
    p90: Triple
    most: Triple


class DataFingerprint(Config):
    """What the training cases are like.

    Args:
        spacing_mm: voxel sizes.
        size: voxels of what training sees, on the case's own grid.
        extent_mm: the same as a length.
        anisotropy: largest over smallest voxel size of the median spacing.
        kept_of_image: share of the image's voxels that is left when the air around the body is; median.
        labelled_hu: percentiles of labelled voxels.
    """

    spacing_mm: Spread
    size: Spread
    extent_mm: Spread
    anisotropy: float
    kept_of_image: float
    labelled_hu: dict[str, float]


def summarise(prints: Sequence[Fingerprint]) -> DataFingerprint:
    """The fingerprints of the training cases as one; at least one of them has a labelled voxel."""
    spacings, sizes = (np.array([getattr(each, name) for each in prints], float) for name in ("spacing_mm", "shape"))
    median = np.median(spacings, axis=0)
    hu = np.percentile(np.concatenate([each.foreground_hu for each in prints]), HU_PERCENTILES)
    return DataFingerprint(
        spacing_mm=_spread(spacings, 4),
        size=_spread(sizes, 0),
        extent_mm=_spread(spacings * sizes, 1),
        anisotropy=round(float(median.max() / median.min()), 2),
        kept_of_image=round(float(np.median([each.kept for each in prints])), 3),
        labelled_hu={f"p{name:g}": round(float(each), 1) for name, each in zip(HU_PERCENTILES, hu, strict=True)},
    )


def _spread(values: FloatArray, digits: int) -> Spread:
    found = np.percentile(values, PERCENTILES, axis=0)
    rounded = [tuple(round(float(each), digits) for each in row) for row in found]
    return Spread.model_validate(dict(zip(Spread.model_fields, rounded, strict=True)))


def plan_stage(
    prints: Sequence[Fingerprint],
    spacing_mm: Triple,
    design: Design,
    cost: Cost,
    budget_mib: float,
    *,
    tell: Callable[[float], str] = lambda mib: f"{mib / 1024:.1f} GiB",
) -> Stage:
    """The largest patch and batch that fit, for a grid of this spacing.

    Args:
        prints: of the training cases.
        design: settings of the network for a patch, and what the patch must be a multiple of.
        cost: memory of a training step in MiB.
        budget_mib: what it may take.
        tell: MiB of a step as the user is told them, such as with what else the device must hold.

    Raises:
        InputError: not even the smallest patch fits; says what it would take.
    """
    shape = median_shape(prints, spacing_mm)
    patch = first_patch(spacing_mm, shape)
    while True:
        network, multiple = design(patch, spacing_mm)
        patch = _roomy(_whole(patch, multiple), multiple, shape)
        taken = cost(network, patch, SMALLEST_BATCH)
        if taken <= budget_mib:
            break
        smaller = _smaller(patch, multiple, shape)
        if smaller is None:
            raise InputError(
                f"{tell(budget_mib)} are too little for the smallest patch",
                where="--vram",
                expected=f"at least {tell(taken)} for {SMALLEST_BATCH} patches of {_times(patch)} voxels",
                do="Give more with --vram, or choose a smaller --network.",
            )
        patch = smaller
    most = max(SMALLEST_BATCH, int(BATCH_SHARE * len(prints) * prod(shape) / prod(patch)))
    batch = SMALLEST_BATCH
    while batch < most and cost(network, patch, batch + 1) <= budget_mib:
        batch += 1
    return Stage(spacing_mm, shape, patch, batch, network, cost(network, patch, batch), _reasons(
        patch, batch, most, shape, tell(budget_mib)))  # fmt: skip


def first_patch(spacing_mm: Triple, shape: IntTriple) -> IntTriple:
    """Where the search begins: equally long in mm along every axis, 256^3 voxels in all, cut to the median case.

    >>> first_patch((1.0, 1.0, 4.0), (512, 512, 60))
    (406, 406, 60)
    """
    edge_mm = (FIRST_VOXELS * prod(spacing_mm)) ** (1 / 3)
    x, y, z = (min(round(edge_mm / mm), n) for mm, n in zip(spacing_mm, shape, strict=True))
    return x, y, z


def coarser_spacing(stage: Stage, prints: Sequence[Fingerprint]) -> Triple | None:
    """Spacing of a low-resolution stage whose patch, as large as the full one, sees a quarter of the case; or None."""
    if stage.seen >= LOW_RESOLUTION_SHARE:
        return None
    spacing = np.array(stage.spacing_mm)
    while prod(stage.patch) < LOW_RESOLUTION_SHARE * prod(median_shape(prints, tuple(spacing))):
        fine = spacing < spacing.max() / 2  # first the fine axes catch up with the coarsest one
        spacing = np.where(fine if fine.any() else True, spacing * COARSER, spacing)
    x, y, z = (round(float(mm), 4) for mm in spacing)
    return x, y, z


def _whole(patch: IntTriple, multiple: IntTriple) -> IntTriple:
    x, y, z = (max(step, -(-n // step) * step) for n, step in zip(patch, multiple, strict=True))
    return x, y, z


def _roomy(patch: IntTriple, multiple: IntTriple, shape: IntTriple) -> IntTriple:
    """The patch; twice as long where the case is longest if one voxel only would be left at the deepest level, of which
    no norm can be computed."""
    if patch != multiple:
        return patch
    axis = max(range(3), key=lambda i: shape[i] / patch[i])
    x, y, z = (2 * n if i == axis else n for i, n in enumerate(patch))
    return x, y, z


def _smaller(patch: IntTriple, multiple: IntTriple, shape: IntTriple) -> IntTriple | None:
    """One step less along the axis that sees the largest share of the case; None where no axis can give any."""
    able = [axis for axis in range(3) if patch[axis] > multiple[axis]]
    if not able or prod(patch) == 2 * prod(multiple):
        return None
    axis = max(able, key=lambda i: patch[i] / shape[i])
    x, y, z = (n - multiple[i] if i == axis else n for i, n in enumerate(patch))
    return x, y, z


def _reasons(patch: IntTriple, batch: int, most: int, shape: IntTriple, room: str) -> dict[str, str]:
    whole = all(n >= wanted for n, wanted in zip(patch, shape, strict=True))
    limit = f"{batch + 1} do not fit into {room}" if batch < most else (
        f"more would be over {BATCH_SHARE:.0%} of all training voxels in one step, the same patches again and again; "
        f"at least {SMALLEST_BATCH}"
    )  # fmt: skip
    return {
        "patch": f"the median case of {_times(shape)} voxels, whole" if whole else
        f"the largest of which {SMALLEST_BATCH} fit into {room}, shaped like the median case of {_times(shape)} voxels",
        "batch": limit,
    }  # fmt: skip


def _times(shape: IntTriple) -> str:
    return " x ".join(map(str, shape))
