from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.io.dicom_write_names import header_names


def test_short_names_stay_and_nothing_is_said() -> None:
    assert header_names(["liver", "spleen"], 16) == (("liver", "spleen"), ())


def test_long_names_keep_their_beginning_and_their_end() -> None:
    names, (note,) = header_names(["lung_upper_lobe_left", "lung_upper_lobe_right"], 16)
    assert names == ("lung_upp~be_left", "lung_upp~e_right")
    assert "16 letters" in note


def test_signs_that_divide_values_are_replaced() -> None:
    assert header_names(["a\\b", "c\nd", "  "])[0] == ("a_b", "c_d", "structure")


def test_names_that_differ_in_case_alone_get_a_number() -> None:
    assert header_names(["Liver", "liver"], 16)[0] == ("Liver", "liver~2")


@pytest.mark.parametrize("longest", [16, 64])
@given(names=st.lists(st.text(max_size=70), max_size=8))
def test_no_two_names_are_equal_and_none_is_too_long(longest: int, names: list[str]) -> None:
    found, _ = header_names(names, longest)
    assert len({name.casefold() for name in found}) == len(names)
    assert all(0 < len(name) <= longest for name in found)
