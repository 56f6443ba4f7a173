"""Studies on a coarse grid, and a single ball whose readings have known sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.phantom.experts import Expert
from medseg.phantom.scan import OUTSIDE_MM, Scan, label_surfaces
from medseg.phantom.study import Study, build_study
from medseg.shapes import FloatArray

COARSE_MM = 8.0
BALL_MM = 30.0
STRUCTURES = ("lungs", "bone", "liver", "spleen", "kidney_left", "kidney_right")


@pytest.fixture(scope="session")
def studies() -> tuple[Study, ...]:
    """Twenty studies of one data set, without experts."""
    return tuple(build_study(number, 5, (), COARSE_MM) for number in range(20))


@pytest.fixture
def grid() -> Geometry:
    """2 x 2 x 3 mm around the origin of the world, which is no voxel centre."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-47, -47, -46.5)
    return Geometry((48, 48, 32), affine)


@pytest.fixture
def points_mm(grid: Geometry) -> FloatArray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    return grid.world(index).T.reshape(3, *grid.shape).astype(np.float32)


@pytest.fixture
def ball(points_mm: FloatArray) -> Scan:
    """A liver that is a ball of 30 mm with one lesion of 10 mm in it, and nothing else."""
    radius = np.linalg.norm(points_mm, axis=0)
    distances = dict.fromkeys(STRUCTURES, np.full(radius.shape, OUTSIDE_MM)) | {"liver": radius - BALL_MM}
    lesions = (radius - 10,)
    return Scan(np.zeros(radius.shape, dtype=np.float32), distances, lesions, label_surfaces(distances, lesions))


@pytest.fixture
def habits() -> Callable[..., Expert]:
    """An expert who draws the truth, but for the habits given."""

    def make(**changed: float) -> Expert:
        perfect = {"bias_mm": 0.0, "smoothness_mm": 0.0, "field_mm": 0.0, "field_length_mm": 30.0, "jitter_mm": 0.0}
        return Expert(**({"name": "A", "miss_probability": 0.0} | perfect | changed))  # type: ignore[arg-type]

    return make
