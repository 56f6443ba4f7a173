"""Planes of a case: through the labels, the right way round on the page, whatever the stored axes are."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry, reorient
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.report.doctor_cuts import AXIAL, CORONAL, SAGITTAL, Drawn, choose_cuts
from medseg.shapes import FloatArray, IntArray

GRID = Geometry((30, 24, 12), np.diag([1.0, 1.0, 3.0, 1.0]))
LABELS = LabelSet({"background": 0, "liver": 1, "lesion": 2})


def body() -> FloatArray:
    """Air with a body from X 10, Y 6, Z 2 on, marked at its right, front, top corner by 500."""
    hu = np.full(GRID.shape, -1000, np.float32)
    hu[10:, 6:, 2:] = 40
    hu[29, 23, 11] = 500
    return hu


def drawing(labels: IntArray, grid: Geometry = GRID) -> list[Drawn]:
    reading = LabelMap(labels, grid, LABELS)
    return [Drawn(reading, reading.boxes())]


def test_three_planes_meet_in_the_middle_of_the_labels() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[4:19, 2:15, 3:8] = 1

    axial, coronal, sagittal = choose_cuts(Volume(body(), GRID), drawing(labels))

    assert [cut.across for cut in (axial, coronal, sagittal)] == [AXIAL, CORONAL, SAGITTAL]
    assert (sagittal.index, coronal.index, axial.index) == (11, 8, 5)
    assert axial.size_mm == (30, 24) and coronal.size_mm == (30, 36) and sagittal.size_mm == (24, 36)


def test_two_distant_lesions_do_not_put_the_plane_between_them() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:4, 2:4, 0:2] = 2
    labels[20:26, 20:23, 9:12] = 2

    for cut in choose_cuts(Volume(body(), GRID), drawing(labels)):
        assert drawing(labels)[0].shown(cut)["lesion"].any()


def test_without_labels_the_planes_meet_in_the_body() -> None:
    axial, coronal, sagittal = choose_cuts(Volume(body(), GRID), drawing(np.zeros(GRID.shape, np.uint8)))

    assert 14 <= sagittal.index <= 24 and 10 <= coronal.index <= 20 and 4 <= axial.index <= 9
    assert len(choose_cuts(Volume(np.full(GRID.shape, -1000, np.float32), GRID), [])) == 3


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("signs", [*product((1, -1), repeat=3)])
def test_right_is_left_front_and_head_are_up_in_all_48_orientations(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (GRID.affine[:3, :3] * signs)[:, order]
    corner = [n - 1 if sign < 0 else 0 for n, sign in zip(GRID.shape, signs, strict=True)]
    affine[:3, 3] = GRID.affine[:3, :3] @ corner
    stored = Geometry((GRID.shape[order[0]], GRID.shape[order[1]], GRID.shape[order[2]]), affine)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[29, 23, 11] = 1
    volume = Volume(reorient(body(), GRID, stored), stored)

    cuts = choose_cuts(volume, drawing(reorient(labels, GRID, stored), stored))

    pages = [cut.page(volume.hu[cut.box]) for cut in cuts[:3]]
    assert [page.shape for page in pages] == [(24, 30), (12, 30), (12, 24)]
    assert all(page[0, 0] == 500 and page[-1, -1] == -1000 for page in pages)


def test_small_labels_are_cut_out_with_a_border_and_large_ones_are_not() -> None:
    grid = Geometry((100, 100, 10), np.eye(4))
    small, large = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    small[40:50, 30:35, 4:6], large[10:80, 30:35, 4:6] = 1, 1
    volume = Volume(np.full(grid.shape, 40, np.float32), grid)

    near = choose_cuts(volume, drawing(small, grid))[3:]

    assert len(near) == 1 and near[0].size_mm == (40, 35)  # 10 and 5 mm with 15 mm on each side
    assert choose_cuts(volume, drawing(large, grid))[3:] == []
