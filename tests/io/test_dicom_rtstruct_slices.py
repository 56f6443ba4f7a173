"""Contours that are no closed outlines on a slice of the CT, and what becomes of several on one slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import DicomError
from tests.support.structure_sets import BOX, outline, read, square


def test_points_and_open_contours_are_refused_by_name_unless_ignored(tmp_path: Path) -> None:
    marker = [outline(np.array([[5.0, 5.0]]), 3, kind="POINT")]

    with pytest.raises(DicomError, match=r"enclose nothing; expected CLOSED_PLANAR, got 'gtv iso' \(POINT\).*ignore:"):
        read(tmp_path, {"liver": BOX, "gtv iso": marker})
    assert list(read(tmp_path, {"liver": BOX, "iso": marker}, ignore=["iso"]).masks) == ["liver"]


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("kind", ["CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"])  # the second is one letter too long
def test_xor_contours_combine_by_xor_even_where_they_overlap(tmp_path: Path, kind: str) -> None:
    two = [outline(square(2.5, 2.5, 12.5, 12.5), 4, kind=kind), outline(square(8.5, 2.5, 20.5, 12.5), 4, kind=kind)]

    assert read(tmp_path, {"liver": two}).masks["liver"].sum() == 100 + 120 - 2 * 40
    with pytest.raises(DicomError, match="combined by XOR and others; got 'liver'"):
        read(tmp_path, {"liver": [*two, BOX[0]]})


@pytest.mark.parametrize(("height", "off"), [(4.5, "1.5"), (3.8, "0.6"), (10, "3"), (-2, "6")])
def test_a_contour_between_or_beyond_the_slices_is_refused_with_its_distance(
    tmp_path: Path, height: float, off: str
) -> None:
    stray = outline(square(5.5, 5.5, 15.5, 12.5), height, image=False)

    with pytest.raises(
        DicomError, match=rf"1 of 4 contours on no slice of series_\w+; .*at most 0.3 mm.*up to {off} mm"
    ):
        read(tmp_path, {"liver": [*BOX, stray]})


def test_a_contour_within_a_tenth_of_the_way_to_the_next_slice_is_on_its_slice(tmp_path: Path) -> None:
    near = [outline(square(5.5, 5.5, 15.5, 12.5), 4.09)]

    assert np.flatnonzero(read(tmp_path, {"liver": near}).masks["liver"].any(axis=(0, 1))).tolist() == [4]


def test_a_contour_that_is_not_planar_is_on_no_slice(tmp_path: Path) -> None:
    kind, points, uid = BOX[0]
    bent = points + np.array([0, 0, 1.0]) * np.arange(4)[:, None]

    with pytest.raises(DicomError, match=r"on no slice .* up to 3 mm"):
        read(tmp_path, {"liver": [(kind, bent, uid)]})


def test_a_contour_beside_the_image_is_refused_and_one_that_reaches_beyond_is_cut_and_said(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=r"beside the image of series_\w+; .* 9.45 mm away on slice 5 of 10"):
        read(tmp_path, {"liver": [outline(square(50, 5.5, 60, 12.5), 4)]})
    contoured = read(tmp_path, {"liver": [outline(square(35.5, 5.5, 60, 12.5), 4)]})
    assert contoured.masks["liver"].sum() == 4 * 7
    assert contoured.notes == ("ROI 'liver': reaches beyond the image and is cut off there on slice 5 of 10",)


def test_a_contour_around_no_voxel_centre_is_said(tmp_path: Path) -> None:
    contoured = read(tmp_path, {"liver": [outline(square(5.1, 5.1, 5.9, 5.9), 4)]})

    assert not contoured.masks["liver"].any()
    assert contoured.notes == ("ROI 'liver': encloses no voxel's centre on slice 5 of 10",)


def test_a_contour_written_twice_counts_once_and_is_said(tmp_path: Path) -> None:
    contoured = read(tmp_path, {"liver": [*BOX, BOX[1]]})

    assert contoured.masks["liver"].sum() == 3 * 70
    assert contoured.notes == ("ROI 'liver': 1 contour written twice counted once on slice 5 of 10",)


def test_contours_that_overlap_in_part_are_refused_until_a_rule_says_what_that_means(tmp_path: Path) -> None:
    two = {"liver": [outline(square(2.5, 2.5, 12.5, 12.5), 4), outline(square(8.5, 2.5, 20.5, 12.5), 4)]}

    with pytest.raises(DicomError, match=r"overlap in part.*got 40 voxels in common on slice 5 of 10.*--crossing un"):
        read(tmp_path, two)
    assert read(tmp_path, two, crossing="union").masks["liver"].sum() == 180
    assert read(tmp_path, two, crossing="xor").masks["liver"].sum() == 140
