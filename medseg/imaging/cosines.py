"""Are the axes of a grid at right angles? The nearest grid whose axes are, and what becomes of a sheared one."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import numpy as np

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.shapes import Triple

Shear = Literal["refuse", "keep"]
ROUNDING_DEG = 1e-4  # axes of float32 numbers are off by up to 2e-5 degrees: such an affine is taken bit by bit
TOLERANCE_DEG = 0.1  # cosines written with three or four decimals are off by up to this: half a mm over 300 mm
MAX_SHEAR_DEG = 45.0  # gantries tilt to 30; what is sheared by more was never one scan
SHEARED = "Convert the series again with --tilt resample, or say `tilt: keep` in dataset.yaml to take it as it is."


def skew_deg(geometry: Geometry) -> Triple:
    """How far the angles between X and Y, X and Z, Y and Z are from 90 degrees.

    >>> sheared = np.eye(4)
    >>> sheared[1, 2] = 1.0
    >>> [round(angle) for angle in skew_deg(Geometry((2, 2, 2), sheared))]
    [0, 0, 45]
    """
    axes = geometry.direction
    xy, xz, yz = (
        abs(np.degrees(np.arcsin(np.clip(axes[:, a] @ axes[:, b], -1, 1)))) for a, b in combinations(range(3), 2)
    )
    return float(xy), float(xz), float(yz)


def orthonormal(geometry: Geometry) -> Geometry:
    """The same shape, spacing and first voxel with the nearest axes at right angles (polar decomposition).

    Nearest by the sum of squared differences of the cosines; flips stay flips. Source: Higham, "Computing the polar
    decomposition", SIAM J. Sci. Stat. Comput. 7 (1986).
    """
    left, _, right = np.linalg.svd(geometry.direction)
    affine = geometry.affine.copy()
    affine[:3, :3] = (left @ right) * np.array(geometry.spacing_mm)
    return Geometry(geometry.shape, affine)


def squared(geometry: Geometry, *, shear: Shear = "refuse", where: str = "", do: str = SHEARED) -> Geometry:
    """The grid with its axes at right angles, by one rule for every format that holds free cosines.

    Axes that are off by no more than float32 rounding (1e-4 degrees) are taken as they are; up to 0.1 degrees they
    are projected to the nearest right angles; a larger shear is refused, or with `shear="keep"` kept as it is where
    it can be a tilted gantry: two axes, those of the slices, at a right angle, and no shear above 45 degrees.

    Args:
        where: what stands first in the message.
        do: what to do about a shear.

    Raises:
        GeometryError: a shear; says how many degrees and between which axes.
    """
    skew = skew_deg(geometry)
    if max(skew) <= ROUNDING_DEG:
        return geometry
    if max(skew) <= TOLERANCE_DEG:
        return orthonormal(geometry)
    got = ", ".join(
        f"{axes} {angle:.3g} degrees off"
        for axes, angle in zip(("X-Y", "X-Z", "Y-Z"), skew, strict=True)
        if angle > TOLERANCE_DEG
    )
    if shear == "keep" and min(skew) <= TOLERANCE_DEG and max(skew) <= MAX_SHEAR_DEG:
        return geometry
    what = "the axes are sheared" + (" as no gantry tilts" if shear == "keep" else "")
    raise GeometryError(what, where=where, expected=f"right angles to {TOLERANCE_DEG} degrees", got=got, do=do)
