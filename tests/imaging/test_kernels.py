"""Reconstruction kernels by family, for the names that the vendors use."""

from __future__ import annotations

import pytest

from medseg.imaging.kernels import SHARP, SMOOTH, kernel_family


@pytest.mark.parametrize("name", ["STANDARD", "soft", "B30f", "B31s", "Br40d\\3", "I31f\\2", "H30s", "FC08", "FC18",
                                  "B", "FC23"])  # fmt: skip
def test_smooth_kernels(name: str) -> None:
    assert kernel_family(name) == SMOOTH


@pytest.mark.parametrize("name", ["LUNG", "BONEPLUS", "B70f", "Bl64d", "I70f\\3", "FC51", "FC30", "L", "YB"])
def test_sharp_kernels(name: str) -> None:
    assert kernel_family(name) == SHARP


@pytest.mark.parametrize("name", ["", " ", "UNKNOWN", "3", "XYZ12345", "B3"])
def test_a_name_that_says_nothing_has_no_family(name: str) -> None:
    assert kernel_family(name) == ""
