"""What a cascade is told of a patch: moved as the labels are, damaged as predictions are wrong."""

from __future__ import annotations

import numpy as np
import torch

from medseg.data.coarse import CLOSE, GROW, OPEN, SHRINK, _redrawn, _without_a_piece, damaged, with_coarse


def cube(low: int = 4, high: int = 10, size: int = 14) -> torch.Tensor:
    classes = torch.zeros(size, size, size, dtype=torch.int16)
    classes[low:high, low:high, low:high] = 2
    return classes


def count(classes: torch.Tensor) -> int:
    return int((classes == 2).sum())


def test_a_cube_grows_and_shrinks_by_the_radius() -> None:
    assert count(_redrawn(cube(), 2, GROW, 1)) == 8**3
    assert count(_redrawn(cube(), 2, SHRINK, 2)) == 2**3
    assert torch.equal(_redrawn(cube(), 2, OPEN, 1), cube())
    assert torch.equal(_redrawn(cube(), 2, CLOSE, 1), cube())


def test_opening_takes_thin_parts_away_and_closing_fills_gaps() -> None:
    thorn, gap = cube(), cube()
    thorn[10:13, 6, 6] = 2
    gap[6, 6, 6] = 0
    assert torch.equal(_redrawn(thorn, 2, OPEN, 1), cube())
    assert torch.equal(_redrawn(gap, 2, CLOSE, 1), cube())


def test_other_classes_stay_where_the_outline_does_not_reach() -> None:
    classes = cube()
    classes[0, 0, 0] = 5
    assert _redrawn(classes, 2, GROW, 1)[0, 0, 0] == 5


def test_a_small_piece_goes_and_a_large_one_stays() -> None:
    rng = np.random.default_rng(0)
    assert count(_without_a_piece(cube(), 2, rng)) == 0
    assert count(_without_a_piece(cube(1, 13), 2, rng)) == 12**3


def test_about_half_of_the_patches_are_left_as_they_are_and_the_same_numbers_damage_alike() -> None:
    kept = sum(torch.equal(damaged(cube(), np.random.default_rng(n)), cube()) for n in range(200))
    assert 80 < kept < 160  # 0.6 times 0.8, and openings and closings that change nothing
    assert torch.equal(damaged(cube(), np.random.default_rng(3)), damaged(cube(), np.random.default_rng(3)))


def test_the_last_row_of_the_labels_becomes_the_second_channel() -> None:
    labels = torch.stack([cube(), torch.full((14, 14, 14), -1, dtype=torch.int16)])
    image, rest = with_coarse(torch.full((1, 14, 14, 14), 0.5), labels, (0, 0, 0))
    assert image.shape == (2, 14, 14, 14)
    assert image[0].unique().tolist() == [0.5] and image[1].unique().tolist() == [0]
    assert torch.equal(rest, labels[:1])
