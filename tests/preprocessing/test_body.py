"""The box around the patient: both legs, no table."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.preprocessing.body import body_box
from medseg.shapes import FloatArray, Triple

AIR, SOFT = -1000.0, 40.0


def scene(spacing_mm: Triple = (2.0, 2.0, 4.0), shape: tuple[int, int, int] = (200, 120, 30)) -> Volume:
    return Volume(np.full(shape, AIR, dtype=np.float32), Geometry(shape, np.diag([*spacing_mm, 1.0])))


def add_rod(volume: Volume, centre_mm: tuple[float, float], radius_mm: float) -> None:
    """A leg along Z."""
    x, y = (np.arange(n) * mm for n, mm in zip(volume.hu.shape[:2], volume.geometry.spacing_mm[:2], strict=True))
    inside = np.hypot(x[:, None] - centre_mm[0], y - centre_mm[1]) <= radius_mm
    hu: FloatArray = volume.hu
    hu[inside] = SOFT


def ends_mm(volume: Volume, axis: int) -> tuple[float, float]:
    start, shape = body_box(volume, margin_mm=0.0)
    mm = volume.geometry.spacing_mm[axis]
    return start[axis] * mm, (start[axis] + shape[axis]) * mm


def test_both_legs_are_the_patient() -> None:
    volume = scene()
    add_rod(volume, (100, 120), 70)
    add_rod(volume, (290, 120), 60)

    low, high = ends_mm(volume, 0)

    assert low == pytest.approx(30, abs=4) and high == pytest.approx(350, abs=6)


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 4.0), (1.0, 1.0, 8.0), (0.7, 0.7, 1.0)])
@pytest.mark.parametrize("thick_mm", [3.0, 10.0])
def test_the_shell_of_a_table_is_not(spacing_mm: Triple, thick_mm: float) -> None:
    volume = scene(spacing_mm, (round(300 / spacing_mm[0]), round(220 / spacing_mm[1]), 20))
    add_rod(volume, (150, 80), 60)
    rows = slice(round(180 / spacing_mm[1]), round((180 + thick_mm) / spacing_mm[1]) + 1)
    volume.hu[:, rows] = 100.0  # wider than the patient, from end to end

    low, high = ends_mm(volume, 1)

    assert low == pytest.approx(20, abs=5) and high == pytest.approx(140, abs=5)


def test_wires_and_blankets_are_not() -> None:
    volume = scene()
    add_rod(volume, (200, 160), 60)
    add_rod(volume, (30, 30), 4)
    volume.hu[60:150, 20:23] = -200.0

    assert ends_mm(volume, 1)[0] == pytest.approx(100, abs=5)


def test_a_thick_table_that_is_larger_than_the_patient_costs_no_patient() -> None:
    volume = scene()
    add_rod(volume, (200, 60), 30)  # a child
    volume.hu[:, 90:110] = 100.0

    assert ends_mm(volume, 1) == pytest.approx((30, 220), abs=5)


def test_nothing_but_air_is_kept_whole() -> None:
    volume = scene()
    assert body_box(volume, 10.0) == ((0, 0, 0), volume.geometry.shape)


def test_a_body_that_fills_the_image_is_the_image() -> None:
    volume = scene()
    volume.hu[:] = SOFT
    assert body_box(volume, 10.0) == ((0, 0, 0), volume.geometry.shape)
