"""One phantom study: a body, its scan on a grid of its own, and every expert's reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.phantom.anatomy import sample_body
from medseg.phantom.experts import Expert, read_scan
from medseg.phantom.scan import scan_body
from medseg.shapes import IntArray

FIELD_OF_VIEW_MM = (384.0, 320.0, 264.0)


@dataclass(frozen=True, eq=False)
class Study:
    """A simulated case: the image, the truth, the readings by expert and the lesions that each overlooked."""

    volume: Volume
    truth: IntArray
    readings: dict[str, IntArray]
    missed_lesions: dict[str, list[int]]
    lesions: int


def build_study(number: int, seed: int, experts: Sequence[Expert], spacing_mm: float = 4.0) -> Study:
    """The study with this number in the data set with this seed; the same two numbers give the same study.

    Args:
        spacing_mm: mean spacing in the plane; slices are 10 to 30 % thicker, and both vary from study to study.
    """
    rng = np.random.default_rng([seed, number])
    geometry = sample_geometry(rng, spacing_mm)
    scan = scan_body(sample_body(rng), geometry, rng)
    readings, missed = {}, {}
    for position, expert in enumerate(experts):
        own = np.random.default_rng([seed, number, 1 + position])  # adding an expert leaves the others' lines alone
        readings[expert.name], missed[expert.name] = read_scan(expert, scan, geometry, own)
    return Study(Volume(scan.hu, geometry), scan.truth, readings, missed, len(scan.lesions_mm))


def sample_geometry(rng: np.random.Generator, spacing_mm: float) -> Geometry:
    """A grid around the body's origin: anisotropic, stored in RAS or LPS order as scanners and converters differ."""
    in_plane = spacing_mm * rng.uniform(0.94, 1.06)
    spacing = np.round([in_plane, in_plane, spacing_mm * rng.uniform(1.1, 1.3)], 3)
    shape = np.ceil(np.array(FIELD_OF_VIEW_MM) / spacing).astype(int)
    signs = np.array([1, 1, 1]) if rng.random() < 0.5 else np.array([-1, -1, 1])
    affine = np.diag([*(spacing * signs), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)
