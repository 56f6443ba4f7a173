"""One comparison with a reference: what was compared, how far apart the two are, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.imaging.geometry import Geometry, reorient

AFFINE_MM = 1e-3  # no voxel centre may lie further from its twin


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        source: folder or file below the data folder.
        what: what was compared with what.
        hu: largest difference of two voxels in HU; for masks, how many voxels differ (`voxels`).
        mm: largest distance between two voxel centres that should be one.
        verdict: `equal`; `explained`: they differ for the reason given; `refused`: by us, on purpose; `differs`.
        why: the reason, or our own sentence of refusal.
        dice: overlap of two masks.
    """

    source: str
    what: str
    verdict: str
    hu: float | None = None
    mm: float | None = None
    why: str = ""
    voxels: int | None = None
    dice: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}

    def as_markdown(self) -> str:
        if self.voxels is not None:
            difference = f"{self.voxels} voxels, Dice {self.dice:.6g}"
        else:
            difference = "" if self.hu is None else f"{self.hu:.4g}"
        distance = "" if self.mm is None else f"{self.mm:.1e}" if 0 < self.mm < 0.1 else f"{self.mm:.3g}"
        return f"| {self.source} | {self.what} | {difference} | {distance} | {self.verdict} | {self.why} |"


HEADER = "| series | what | difference (HU) | affine (mm) | verdict | why |\n|---|---|---|---|---|---|"


def canonical(array: Any, geometry: Geometry) -> tuple[Any, Geometry]:
    """The same voxels with X, Y, Z nearest to R, A, S: dcm2niix flips rows, NRRD files may flip anything."""
    target = geometry.canonical()
    return reorient(array, geometry, target), target


def distance_mm(a: Geometry, b: Geometry) -> float:
    """Largest distance of two corners; infinite when the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape])).reshape(3, -1).T
    return float(np.linalg.norm(a.world(corners) - b.world(corners), axis=1).max())


def compare_hu(
    source: str, what: str, ours: tuple[Any, Geometry], theirs: tuple[Any, Geometry], *, within_hu: float = 0.0,
    why: str = "",
) -> Row:  # fmt: skip
    """The row of two images; voxels within `within_hu` and grids within a thousandth of a mm are `equal`.

    Args:
        why: the known reason for a difference; with it a row that differs is `explained`.
    """
    a, grid_a = canonical(*ours)
    b, grid_b = canonical(*theirs)
    mm = distance_mm(grid_a, grid_b)
    if a.shape != b.shape:
        return Row(source, what, "differs", why=f"shapes {a.shape} and {b.shape}")
    hu = float(np.abs(a.astype(np.float64) - b).max())
    if hu <= within_hu and mm <= AFFINE_MM:
        return Row(source, what, "equal", hu, mm, why if hu else "")
    return Row(source, what, "explained" if why else "differs", hu, mm, why)


def compare_masks(source: str, what: str, ours: tuple[Any, Geometry], theirs: tuple[Any, Geometry]) -> Row:
    """The row of two masks: voxels that differ, and Dice."""
    a, grid_a = canonical(*ours)
    b, grid_b = canonical(*theirs)
    if a.shape != b.shape:
        return Row(source, what, "differs", why=f"shapes {a.shape} and {b.shape}")
    both = int(a.sum()) + int(b.sum())
    wrong, mm = int((a != b).sum()), distance_mm(grid_a, grid_b)
    dice = 2 * float((a & b).sum()) / both if both else 1.0
    verdict = "equal" if not wrong and mm <= AFFINE_MM else "differs"
    return Row(source, what, verdict, mm=mm, voxels=wrong, dice=dice)
