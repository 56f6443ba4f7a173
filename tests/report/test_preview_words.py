"""Parameters of transforms as a reader is told them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from medseg.report.preview_words import told, told_of


@dataclass(frozen=True)
class Turn:
    rotation_deg: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    shift_mm: float = 0.0


@dataclass(frozen=True)
class Whole:
    turn: Turn | None = None
    axes: tuple[int, ...] = ()
    fill: str = "air"
    boxes: tuple[Any, ...] = ()
    seed: int = 7


def test_numbers_carry_their_units() -> None:
    assert told(Turn((12.34, -3.0, 0.0), shift_mm=-4.5)) == ("rotation 12.3, −3, 0°", "shift −4.5 mm")


def test_what_leaves_the_image_as_it_is_is_not_told() -> None:
    assert told(Turn()) == ()


def test_parts_of_parameters_are_told_in_their_place() -> None:
    assert told(Whole(Turn(scale=(1.1, 1.0, 0.9)), axes=(0, 2))) == ("scale 1.1, 1, 0.9", "axes X, Z", "fill air")


@pytest.mark.parametrize(("count", "words"), [(1, "1 box"), (3, "3 boxes")])
def test_places_are_counted(count: int, words: str) -> None:
    assert told(Whole(boxes=(((0, 0, 0), (1, 1, 1)),) * count)) == ("fill air", words)


def test_a_parameter_called_like_its_transform_is_named_once() -> None:
    assert told_of("shift_mm", Turn()) == "shift mm"
    assert told_of("shift", Turn(shift_mm=2)) == "shift: 2 mm"
