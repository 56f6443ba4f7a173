"""Readings of one synthetic body by several readers: five organs whose outlines differ by a millimetre or two.

Every reader draws each organ as a smooth ellipsoid pushed in and out by a smooth random field of its own, so readers
share much of a surface and part from it in patches, as people do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import Box, LabelMap, LabelSet
from medseg.shapes import FloatArray, IntArray, IntTriple, Triple

SPACING_MM = (0.8, 0.8, 1.0)
DEVIATION_MM = 1.5  # between a reader's outline and the organ's
KNOTS_MM = 25.0  # between two places where a reader's deviation is drawn anew


@dataclass(frozen=True)
class Organ:
    """An ellipsoid: centre and half axes as shares of the grid."""

    name: str
    centre: Triple
    radii: Triple


ORGANS = (
    Organ("liver", (0.32, 0.45, 0.55), (0.18, 0.17, 0.26)),
    Organ("spleen", (0.76, 0.52, 0.60), (0.07, 0.10, 0.18)),
    Organ("kidney_left", (0.66, 0.66, 0.38), (0.055, 0.06, 0.17)),
    Organ("kidney_right", (0.34, 0.72, 0.36), (0.055, 0.06, 0.17)),
    Organ("aorta", (0.52, 0.58, 0.50), (0.025, 0.025, 0.45)),
)
NAMES = ["A", "B", "C", "D", "M"]  # four readers and a model
LABELS = LabelSet({"background": 0} | {organ.name: value for value, organ in enumerate(ORGANS, 1)})


def readings(names: Sequence[str], shape: IntTriple, *, seed: int = 0) -> dict[str, LabelMap]:
    """One label map (X, Y, Z) uint8 per reader, laid out in memory as a file's voxels are."""
    rng = np.random.default_rng(seed)
    geometry = Geometry(shape, np.diag([*SPACING_MM, 1.0]))
    return {name: LabelMap(draw(shape, rng), geometry, LABELS) for name in names}


def draw(shape: IntTriple, rng: np.random.Generator) -> IntArray:
    """Labels (X, Y, Z) as one reader draws them."""
    labels = np.zeros(shape, dtype=np.uint8, order="F")
    for organ in ORGANS:
        box, outside_mm = _signed_mm(organ, shape)
        inside = outside_mm < smooth_field(outside_mm.shape, rng) * DEVIATION_MM
        labels[box][inside] = LABELS.values[organ.name]
    return labels


def smooth_field(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """A random field (X, Y, Z) of deviation 1 that changes over some centimetres."""
    knots = [max(2, round(n * step / KNOTS_MM) + 1) for n, step in zip(shape, SPACING_MM, strict=True)]
    coarse = rng.normal(size=knots).astype(np.float32)
    factors = [n / knot for n, knot in zip(shape, knots, strict=True)]
    field = np.asarray(ndimage.zoom(coarse, factors, order=1, mode="nearest", grid_mode=True), dtype=np.float32)
    return field / field.std()


def _signed_mm(organ: Organ, shape: IntTriple) -> tuple[Box, FloatArray]:
    """The box around an organ, and how far each of its voxels lies outside (about, negative inside)."""
    centre, radii = np.multiply(organ.centre, shape), np.multiply(organ.radii, shape)
    reach = radii + 6 * DEVIATION_MM / np.array(SPACING_MM)
    low, high = (
        np.maximum(0, np.floor(centre - reach)).astype(int),
        np.minimum(shape, np.ceil(centre + reach)).astype(int),
    )
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    axes = [((np.arange(a, b) - c) / r).astype(np.float32) for a, b, c, r in zip(low, high, centre, radii, strict=True)]
    x, y, z = np.ix_(*axes)
    length = np.sqrt(x * x + y * y + z * z)
    return box, (length - 1) * np.float32((radii * SPACING_MM).min())
