"""The sliding window: a model that answers with a function of the voxel gives that function everywhere."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from medseg.inference.sliding_window import InferenceConfig, predict_probabilities
from medseg.shapes import IntTriple


class Voxelwise(nn.Module):
    """Logits (0, v, -v) of a voxel of value v, wherever it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(image), image, -image], dim=1)


class SideOfThePatch(Voxelwise):
    """Says class 1 in the first half of the first axis and class 2 in the other half."""

    def forward(self, image: Tensor) -> Tensor:
        first = torch.zeros_like(image)
        first[:, :, : image.shape[2] // 2] = 9
        return torch.cat([torch.full_like(image, -9), first, 9 - first], dim=1)


PATCH: IntTriple = (8, 8, 8)


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 11, 9), (5, 30, 3)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_voxelwise_model_is_reproduced_on_the_whole_image(shape: IntTriple, overlap: float) -> None:
    image = torch.randn(1, *shape)

    probabilities = predict_probabilities(Voxelwise(), image, PATCH, InferenceConfig(overlap=overlap))

    expected = torch.softmax(torch.cat([torch.zeros_like(image), image, -image]), dim=0)
    assert probabilities.shape == (3, *shape)
    assert torch.allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1, 2)])
def test_mirroring_a_model_that_knows_no_place_changes_nothing(axes: tuple[int, ...]) -> None:
    image = torch.randn(1, 12, 9, 10)

    plain = predict_probabilities(Voxelwise(), image, PATCH, InferenceConfig())
    mirrored = predict_probabilities(Voxelwise(), image, PATCH, InferenceConfig(mirror_axes=axes))

    assert torch.allclose(plain, mirrored, atol=1e-5)


def test_mirroring_exchanges_left_and_right_classes_back() -> None:
    image, config = torch.zeros(1, 8, 8, 8), InferenceConfig(mirror_axes=(0,))

    paired = predict_probabilities(SideOfThePatch(), image, PATCH, config, [(1, 2)])
    unpaired = predict_probabilities(SideOfThePatch(), image, PATCH, config)

    assert paired[1, :4].min() > 0.99  # the mirrored patient says the same once the names are exchanged
    assert paired[2, 4:].min() > 0.99
    assert torch.allclose(unpaired[1], unpaired[2])  # without the exchange the two views contradict each other


def test_classes_are_not_exchanged_where_another_axis_is_mirrored() -> None:
    config = InferenceConfig(mirror_axes=(1, 2))

    probabilities = predict_probabilities(SideOfThePatch(), torch.zeros(1, 8, 8, 8), PATCH, config, [(1, 2)])

    assert probabilities[1, :4].min() > 0.99


def test_several_patches_at_a_time_give_the_same() -> None:
    image = torch.randn(1, 20, 12, 9)

    one, four = (predict_probabilities(Voxelwise(), image, PATCH, InferenceConfig(batch=n)) for n in (1, 4))

    assert torch.allclose(one, four, atol=1e-6)


def test_probabilities_sum_to_one() -> None:
    probabilities = predict_probabilities(Voxelwise(), torch.randn(1, 17, 9, 8), PATCH, InferenceConfig())

    assert torch.allclose(probabilities.sum(0), torch.ones(17, 9, 8), atol=1e-5)


@pytest.mark.parametrize("axes", [(3,), (0, 0), (-1,)])
def test_axes_that_are_not_there_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="different axes out of 0, 1 and 2"):
        InferenceConfig(mirror_axes=axes)


def test_classes_are_exchanged_by_the_rule_of_training() -> None:
    image, config = torch.zeros(1, 8, 8, 8), InferenceConfig(mirror_axes=(1,))

    found = predict_probabilities(SideOfThePatch(), image, PATCH, config, [(1, 2)], swap="chirality")

    assert torch.allclose(found[1, :4], found[2, :4])
