"""Where frames of a segmentation lie: on a grid of their own, and on the slices of a CT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.errors import DicomError, GeometryError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry, reorient
from medseg.io.dicom_seg import read_segmentation
from tests.support.segmentations import (
    DRAWN,
    GRID,
    SEG,
    WriteSeg,
    assert_masks,
    write_seg,
)

__all__ = ["write_seg"]  # a fixture


def test_absent_frames_are_zero_and_keep_their_place() -> None:
    found = read_segmentation(SEG / "labelmap.dcm")
    assert [int(n) for n in found.masks["Liver"].sum(axis=(0, 1))] == [315, 0, 315]


def test_a_grid_without_a_declared_distance_takes_the_smallest_gap_of_which_all_are_multiples() -> None:
    found = read_segmentation(SEG / "overlap.dcm")  # slices at -99.48 and at 103.02, 104.27, 105.52 mm
    assert found.geometry.shape == (16, 16, 165)
    assert found.geometry.spacing_mm[2] == pytest.approx(1.25)
    assert np.flatnonzero(found.masks["first segment"].any(axis=(0, 1))).tolist() == [0, 162, 163, 164]


@pytest.mark.parametrize("order", ["reversed", "coronal", "sagittal, flipped"])
def test_other_axis_orders_and_flips_land_on_the_ct(write_seg: WriteSeg, order: str) -> None:
    """The CT is turned instead of the segmentation: the same lattice, cut another way."""
    turn = {"reversed": ((0, 1, 2), (1, 1, -1)), "coronal": ((0, 2, 1), (1, -1, 1)),
            "sagittal, flipped": ((2, 1, 0), (-1, -1, 1))}[order]  # fmt: skip
    turned = _turned(*turn)
    found = read_segmentation(write_seg(DRAWN), acquisition=Acquisition.of_planes(turned))
    assert_masks(found, {name: reorient(mask, GRID, turned) for name, mask in DRAWN.items()})


def _turned(order: tuple[int, ...], signs: tuple[int, ...]) -> Geometry:
    affine = GRID.affine.copy()
    corner = np.zeros(3)
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, new] = sign * GRID.affine[:3, old]
        corner[old] = 0 if sign > 0 else GRID.shape[old] - 1
    affine[:3, 3] = GRID.world(corner)
    x, y, z = (GRID.shape[axis] for axis in order)
    return Geometry((x, y, z), affine)


def test_a_cropped_segmentation_lands_in_its_place(write_seg: WriteSeg) -> None:
    whole = GRID.cropped((-4, -3, -2), (40, 50, 9))
    found = read_segmentation(write_seg(DRAWN), acquisition=Acquisition.of_planes(whole))
    assert found.masks["B"][4:27, 3:41, 2:5].sum() == DRAWN["B"].sum() == found.masks["B"].sum()


def test_voxels_outside_the_ct_are_refused(write_seg: WriteSeg) -> None:
    part = Acquisition.of_planes(GRID.cropped((0, 0, 0), (23, 38, 2)))
    with pytest.raises(DicomError, match="66 voxels of segment 'A' lie outside the CT"):
        read_segmentation(write_seg(DRAWN), acquisition=part)


def test_empty_margins_outside_the_ct_are_left_out(write_seg: WriteSeg) -> None:
    part = Acquisition.of_planes(GRID.cropped((1, 1, 0), (20, 30, 3)))
    found = read_segmentation(write_seg(DRAWN), acquisition=part)
    np.testing.assert_array_equal(found.masks["A"], DRAWN["A"][1:21, 1:31])


@pytest.mark.parametrize(
    ("moved", "got"),
    [
        ({"shift": (0, 0, 1.0)}, r"1 mm apart"),
        ({"shift": (0.35, 0, 0)}, r"0.35 mm apart"),
        ({"scale": 1.02}, r"voxels of 0.7 x 0.7 mm against 0.714 x 0.714 mm"),
        ({"turn": 5.0}, r"axes turned by 5 degrees"),
    ],
)
def test_what_would_need_interpolation_is_refused_in_mm_or_degrees(
    write_seg: WriteSeg, moved: dict[str, Any], got: str
) -> None:
    affine = GRID.affine.copy()
    affine[:3, 3] += moved.get("shift", (0, 0, 0))
    affine[:3, :2] *= moved.get("scale", 1.0)
    angle = np.radians(moved.get("turn", 0.0))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    with pytest.raises(GeometryError, match=got):
        read_segmentation(write_seg(DRAWN), acquisition=Acquisition.of_planes(Geometry(GRID.shape, affine)))


def test_frames_find_the_slices_of_an_uneven_acquisition(write_seg: WriteSeg) -> None:
    """Slices at 0, 2.5 and 7.5 mm; the volume has planes every 2.5 mm, and the labels go to them by the acquisition."""
    affines = Acquisition.of_planes(GRID).affines.copy()
    affines[2, 2, 3] += 2.5

    def move(dataset: Any) -> None:
        for own in dataset.PerFrameFunctionalGroupsSequence:
            position = own.PlanePositionSequence[0].ImagePositionPatient
            if float(position[2]) > -173:
                position[2] = float(position[2]) + 2.5

    uneven = Acquisition((23, 38), affines, GRID.cropped((0, 0, 0), (23, 38, 4)), invented=(2,))
    found = read_segmentation(write_seg(DRAWN, change=move), acquisition=uneven)
    for name, mask in DRAWN.items():
        np.testing.assert_array_equal(found.masks[name], uneven.to_grid(mask))


def test_frames_find_the_slices_of_a_tilted_gantry(write_seg: WriteSeg) -> None:
    """Each slice lies 0.5 mm further back than the one below: by 11.3 degrees."""
    affines = Acquisition.of_planes(GRID).affines.copy()
    affines[:, 1, 3] -= 0.5 * np.arange(3)

    def move(dataset: Any) -> None:
        for own in dataset.PerFrameFunctionalGroupsSequence:
            position = own.PlanePositionSequence[0].ImagePositionPatient
            position[1] = 5.01881 + 0.2 * (float(position[2]) + 177.75)

    tilted = Acquisition((23, 38), affines, GRID.cropped((0, 0, 0), (23, 40, 3)), tilt_deg=11.3)
    found = read_segmentation(write_seg(DRAWN, change=move), acquisition=tilted)
    for name, mask in DRAWN.items():
        np.testing.assert_array_equal(tilted.to_slices(found.masks[name]), mask)
        assert found.masks[name][:, :, 2].sum() == mask[:, :, 2].sum()
