"""What a loss is told of its training: voxel sizes at every resolution, names of classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.errors import ConfigError
from medseg.losses.boundary import Boundary, BoundaryConfig
from medseg.losses.cl_dice import ClDiceConfig
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import one_hot
from medseg.losses.registry import build_loss
from medseg.losses.task import Task
from medseg.shapes import Triple

NAMES = ("background", "liver", "vessel")


def half(n: int, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros(1, n, n, n, dtype=torch.long)
    labels[:, : n // 2] = 1
    return one_hot(labels, classes)


def outline(spacing_mm: Triple, n: int, patch: int) -> float:
    """The boundary term of a mask that is a quarter of the patch too long, which is 16 mm of 64 mm."""
    target, weight = half(n)
    longer = target.clone()
    longer[:, :, n // 2 : 3 * n // 4] = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    term = Boundary(Task(spacing_mm=spacing_mm, patch=(patch, patch, patch)), reach_mm=1000.0)
    right, wrong = (term(torch.log_softmax(each * 60, 1), target, weight) for each in (target, longer))
    return float(wrong - right) * 1000


def test_a_coarser_output_measures_its_outline_in_the_same_mm() -> None:
    full, coarse = outline((2.0, 2.0, 2.0), 32, 32), outline((2.0, 2.0, 2.0), 16, 32)
    # a quarter of the voxels, on average 8 mm and half a voxel away
    assert full == pytest.approx((8 + 1) / 4, abs=0.01)
    assert coarse == pytest.approx((8 + 2) / 4, abs=0.01)


def test_the_grid_of_the_training_is_the_default_and_a_recipe_may_name_another() -> None:
    target, weight = half(8)
    flipped = target.flip(1) * 60

    def loss(mm: float, **wish: Any) -> float:
        config = BoundaryConfig(dice_weight=0, ce_weight=0, boundary_weight=1, reach_mm=100, **wish)
        return float(build_loss(config, Task(NAMES[:2], (mm, mm, mm)))(flipped, target, weight))

    assert loss(2.0) == pytest.approx(2 * loss(1.0))
    assert loss(2.0, spacing_mm=(1.0, 1.0, 1.0)) == pytest.approx(loss(1.0))


def test_no_outline_runs_along_voxels_that_do_not_count() -> None:
    target, weight = half(8)
    term, log_p = Boundary(Task(), reach_mm=100.0), torch.log_softmax(torch.zeros(1, 2, 8, 8, 8), 1)
    whole = term(log_p, target, weight)
    weight[:, :, :2] = 0  # the deepest two layers inside: those before them keep their depth
    deep = (1 + 2) * 0.5 / 100
    away = (1 + 2 + 3 + 4) * 0.5 / 100
    assert float(whole) == pytest.approx(0, abs=1e-6)
    assert float(term(log_p, target * weight, weight)) == pytest.approx((away - deep) / 6, abs=1e-5)


def test_classes_with_centre_lines_are_named() -> None:
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    labels[0, 1:4, 1:4], labels[0, 5:7, 5:7] = 1, 2
    target, weight = one_hot(labels, 3)
    logits = torch.randn(target.shape)
    by_name, by_number = (
        build_loss(ClDiceConfig(classes=(chosen,)), Task(NAMES))(logits, target, weight) for chosen in ("vessel", 2)
    )
    assert by_name == by_number
    for wrong in ("artery", 0, 3, "background"):
        with pytest.raises(ConfigError, match=r"loss\.classes: no such structure; expected liver, vessel"):
            build_loss(ClDiceConfig(classes=(wrong,)), Task(NAMES))


def test_centre_lines_of_a_region() -> None:
    config = ClDiceConfig(classes=("tree",), regions={"tree": ("liver", "vessel"), "fine": ("vessel",)})
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    labels[0, 2:5, 2:5] = 2
    target, weight = one_hot(labels, 3)
    assert DeepSupervision(build_loss(config, Task(NAMES)))(target * 60, target, weight) == pytest.approx(0, abs=1e-4)
