"""Simulated readers with habits: each draws every surface in a way of their own, and may overlook lesions."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medseg.imaging.geometry import Geometry
from medseg.phantom.scan import Scan, label_surfaces
from medseg.phantom.shapes import smooth_field
from medseg.shapes import FloatArray, IntArray


@dataclass(frozen=True)
class Expert:
    """The habits of one reader; they stay the same over all cases.

    Args:
        bias_mm: how far outside (positive) or inside the true surface the reader draws.
        smoothness_mm: Gaussian smoothing of the drawn surface; rounds off corners.
        field_mm, field_length_mm: standard deviation and correlation length of a random surface offset.
        jitter_mm: standard deviation of a shift in the plane, drawn anew for every slice.
        miss_probability: chance of overlooking a lesion.
    """

    name: str
    bias_mm: float
    smoothness_mm: float
    field_mm: float
    field_length_mm: float
    jitter_mm: float
    miss_probability: float

    def to_json(self) -> dict[str, float | str]:
        return asdict(self)


def sample_experts(count: int, seed: int) -> tuple[Expert, ...]:
    """`count` readers named A, B, C ...; biases are spread evenly from -1 to +1 mm, so that readers truly differ."""
    rng = np.random.default_rng([seed, 7919])
    biases = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
    return tuple(
        Expert(
            name=_letters(index),
            bias_mm=round(float(bias + rng.normal(0, 0.15)), 3),
            smoothness_mm=round(float(rng.uniform(1.0, 4.0)), 3),
            field_mm=round(float(rng.uniform(0.7, 1.4)), 3),
            field_length_mm=round(float(rng.uniform(20, 40)), 1),
            jitter_mm=round(float(rng.uniform(0.2, 0.7)), 3),
            miss_probability=round(float(rng.uniform(0.02, 0.15)), 3),
        )
        for index, bias in enumerate(biases)
    )


def read_scan(expert: Expert, scan: Scan, geometry: Geometry, rng: np.random.Generator) -> tuple[IntArray, list[int]]:
    """One reading: label values (X, Y, Z) and the numbers of the lesions that the reader overlooked."""
    offset = _surface_offset(expert, geometry, rng)
    shift = rng.normal(0, expert.jitter_mm, size=(2, 1, 1, geometry.shape[2])).astype(np.float32)
    missed = [i for i in range(len(scan.lesions_mm)) if rng.random() < expert.miss_probability]

    def drawn(distance: FloatArray) -> FloatArray:
        near = np.clip(distance, -40, 40)
        if expert.smoothness_mm:
            near = gaussian_filter(near, [expert.smoothness_mm / mm for mm in geometry.spacing_mm])
        slope_x, slope_y = (np.gradient(near, geometry.spacing_mm[axis], axis=axis) for axis in (0, 1))
        return near - shift[0] * slope_x - shift[1] * slope_y - offset

    distances = {name: drawn(distance) for name, distance in scan.distances_mm.items()}
    lesions = tuple(drawn(lesion) for i, lesion in enumerate(scan.lesions_mm) if i not in missed)
    return label_surfaces(distances, lesions), missed


def _surface_offset(expert: Expert, geometry: Geometry, rng: np.random.Generator) -> FloatArray:
    extent = np.array(geometry.shape) * geometry.spacing_mm
    x, y, z = (int(n) for n in np.ceil(extent / expert.field_length_mm) + 1)
    return smooth_field(rng, geometry.shape, (x, y, z), expert.field_mm) + np.float32(expert.bias_mm)


def _letters(index: int) -> str:
    """A ... Z, AA, AB ..."""
    head, last = divmod(index, 26)
    return (_letters(head - 1) if head else "") + chr(ord("A") + last)
