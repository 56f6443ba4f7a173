"""What a check says of each structure, against geometry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.evaluation.structures import count_components, measure_structures
from medseg.evaluation.surroundings import find_air_around
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.regions import RegionMap

LABELS = LabelSet({"background": 0, "liver": 1, "lesion": 7})
GRID = Geometry((12, 10, 8), np.diag([2.0, 2.0, 5.0, 1.0]))


def drawn() -> np.ndarray:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:6, 2:6, 2:4] = 1
    labels[3, 3, 2] = labels[9, 8, 6] = 7
    return labels


def test_volume_components_and_centre_are_those_of_the_drawing() -> None:
    found = measure_structures(LabelMap(drawn(), GRID, LABELS))

    assert found["liver"].volume_ml == pytest.approx(31 * 0.02)
    assert (found["liver"].components, found["lesion"].components) == (1, 2)
    assert found["lesion"].centre_mm == pytest.approx((12, 11, 20))  # between voxels (3, 3, 2) and (9, 8, 6)
    assert found["liver"].outside is None


def test_regions_that_overlap_are_measured_whole() -> None:
    labels = drawn()
    regions = RegionMap({"liver": labels > 0, "lesion": labels == 7}, GRID, LABELS)

    found = measure_structures(regions)

    assert found["liver"].volume_ml == pytest.approx(33 * 0.02)
    assert found["liver"].components == 2


def test_a_structure_without_voxel_is_not_measured() -> None:
    assert measure_structures(LabelMap(drawn() * 0, GRID, LABELS)) == {}


def test_voxels_that_share_a_corner_are_one_component() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True

    assert count_components(mask) == 2
    assert count_components(mask & False) == 0


def test_the_share_in_the_air_around_the_body_is_counted() -> None:
    hu = np.full(GRID.shape, 40, np.float32)
    hu[:4] = -1000

    found = measure_structures(LabelMap(drawn(), GRID, LABELS), find_air_around(hu, GRID))

    assert found["liver"].outside == pytest.approx(15 / 31, abs=0.01)  # 16 voxels at X = 2 and 3, one of them a lesion


def test_masks_of_any_size_have_the_components_that_scipy_counts() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(tuple(rng.integers(1, 6, 3))) < rng.random() for _ in range(500)]

    assert [count_components(mask) for mask in masks] == [ndimage.label(mask, np.ones((3, 3, 3)))[1] for mask in masks]
