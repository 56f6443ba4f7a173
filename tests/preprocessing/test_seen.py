"""What a run remembers of its cases, and which studies it then doubts."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.preprocessing.seen import Looks, Seen, section_cm2

TRUNK = Looks((0.8, 0.8, 5.0), 600.0)
SEEN = Seen.of([(380.0, 250.0, 400.0), (420.0, 300.0, 500.0)], [TRUNK, Looks((0.7, 0.7, 1.0), 450.0)])


def disc(radius_mm: float, slices: int = 80) -> np.ndarray:
    """A cylinder of water in a box of 400 x 280 mm and slices of 5 mm, on a grid of 5 mm."""
    x, y, _ = np.ogrid[:80, :56, :slices]
    inside = (x - 39.5) ** 2 + (y - 27.5) ** 2 < (radius_mm / 5) ** 2
    return np.where(np.broadcast_to(inside, (80, 56, slices)), 0, -1000).astype(np.int16)


def doubts(hu: np.ndarray, seen: Seen = SEEN, *, cropped: bool = True) -> str:
    return " ".join(seen.doubts_of_body(hu, (5.0, 5.0, 5.0), cropped=cropped))


def test_a_section_has_the_area_of_its_disc_and_slices_of_air_do_not_count() -> None:
    hu = disc(100)
    hu[:, :, :50] = -1000

    assert section_cm2(hu, (5.0, 5.0, 5.0)) == pytest.approx(np.pi * 10**2, rel=0.02)
    assert section_cm2(np.full((3, 3, 3), -1000), (5, 5, 5)) == 0


def test_ranges_go_into_plain_numbers_and_back() -> None:
    assert SEEN.facts["spacing_mm"] == ((0.7, 0.8), (0.7, 0.8), (1.0, 5.0))
    assert Seen.read(SEEN.facts) == SEEN
    assert Seen.read({"spacing_mm": [[1], 2, "x"], "area_cm2": [2, 1]}) == Seen()


def test_one_case_that_does_not_tell_leaves_the_ranges_of_looks_out() -> None:
    assert Seen.of([(1.0, 1.0, 1.0)] * 2, [TRUNK, None]).facts == {"field_of_view_mm": ((1, 1),) * 3}
    assert SEEN.joined(Seen()).facts == {}


def test_spacings_of_training_are_no_matter_of_doubt_whatever_the_grid() -> None:
    assert SEEN.doubts_of_spacing((0.8, 0.8, 5.0), (3.0, 3.0, 3.0)) == []
    assert Seen().doubts_of_spacing((0.8, 0.8, 5.0), (3.0, 3.0, 3.0)) != []  # of an older run


def test_voxels_far_from_all_that_was_seen_are_said_with_both_numbers() -> None:
    (told,) = SEEN.doubts_of_spacing((0.8, 0.8, 12.0), (0.8, 0.8, 12.0))

    assert told == "voxels of 0.8 x 0.8 x 12 mm, far from the 0.7-0.8 x 0.7-0.8 x 1-5 mm of the training cases"


def test_a_head_shown_to_a_network_of_trunks_is_doubted_though_it_is_as_long() -> None:
    assert doubts(disc(132)) == ""  # 547 cm2
    head = disc(90)
    told = f"axial sections of {section_cm2(head, (5, 5, 5)):.0f} cm2, and training cases had 450 to 600: another part"
    assert told in doubts(head)


def test_a_patient_who_is_cut_off_at_the_side_is_said() -> None:
    assert "200 mm of the patient along X, and no training case had less than 380" in doubts(disc(132)[20:60])


def test_air_beside_a_patient_counts_as_length_only_where_it_is_cut_away() -> None:
    wide = np.pad(disc(132), ((50, 50), (0, 0), (0, 0)), constant_values=-1000)

    assert doubts(wide, cropped=False) == ""
    assert "900 mm along X, and no training case had more than 420" in doubts(wide)
