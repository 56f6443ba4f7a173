"""The predictor: the study's own grid, every model's opinion, the data set's own label values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.inference.predictor import Predictor
from medseg.inference.sliding_window import InferenceConfig
from medseg.phantom.shapes import rotation
from medseg.preprocessing.plan import Plan, PreprocessingConfig

LABELS = LabelSet({"background": 0, "bright": 40})


class Threshold(nn.Module):
    """Class 1 where the normalised image is above `level`, with `strength` as logit."""

    def __init__(self, level: float, strength: float = 20.0) -> None:
        super().__init__()
        self.level, self.strength = nn.Parameter(torch.tensor(level)), strength

    def forward(self, image: Tensor) -> Tensor:
        above = torch.where(image > self.level, self.strength, -self.strength)
        return torch.cat([torch.zeros_like(image), above], dim=1)


def plan(*, crop: bool = False) -> Plan:
    return Plan(patch=(8, 8, 8), spacing_mm=(3, 2, 2), window_hu=(-1000, 1000), mean_hu=0, std_hu=1,
                preprocessing=PreprocessingConfig(crop_to_body=crop, margin_mm=5))  # fmt: skip


def predictor(*models: nn.Module, crop: bool = False) -> Predictor:
    return Predictor(models, [plan(crop=crop)] * len(models), LABELS, InferenceConfig(overlap=0.25))


@pytest.fixture
def study() -> Volume:
    """An oblique grid whose X, Y, Z run to the front, up and to the left; a bright box in air."""
    affine = np.eye(4)
    affine[:3, :3] = (rotation((8, -5, 12)) @ np.diag([-3.0, 2.0, 2.0]))[:, [1, 2, 0]]
    affine[:3, 3] = (12.3456789, -98.7654321, 55.5)
    hu = np.full((20, 16, 14), -1000, dtype=np.float32)
    hu[6:14, 4:12, 3:9] = 300
    return Volume(hu, Geometry(hu.shape, affine))  # type: ignore[arg-type]


@pytest.mark.parametrize("crop", [False, True])
def test_the_prediction_lies_on_exactly_the_grid_of_the_study(study: Volume, crop: bool) -> None:
    prediction = predictor(Threshold(0.0), crop=crop)(study)

    assert prediction.labels.shape == study.hu.shape
    assert np.array_equal(prediction.geometry.affine, study.geometry.affine)


@pytest.mark.parametrize("crop", [False, True])
def test_what_the_model_marks_comes_back_voxel_by_voxel_in_the_data_sets_values(study: Volume, crop: bool) -> None:
    labels = predictor(Threshold(0.0), crop=crop)(study).labels

    assert np.array_equal(labels, np.where(study.hu == 300, 40, 0))


def test_probabilities_come_on_request_on_the_same_grid(study: Volume) -> None:
    model = predictor(Threshold(0.0))

    probabilities = model(study, probabilities=True).probabilities

    assert model(study).probabilities is None
    assert probabilities is not None
    assert probabilities.shape == (*study.hu.shape, 2)
    assert probabilities[8, 8, 5] == pytest.approx([0, 1], abs=1e-4)
    assert probabilities[0, 0, 0] == pytest.approx([1, 0], abs=1e-4)


def test_several_models_are_averaged(study: Volume) -> None:
    outvoted = predictor(Threshold(0.0, 1.0), Threshold(900.0, 9.0))  # softmax of 1: 0.73; of -9: almost 0
    agreed = predictor(Threshold(0.0, 1.0), Threshold(0.0, 9.0))

    share = outvoted(study, probabilities=True).probabilities
    assert share is not None
    assert share[8, 8, 5, 1] == pytest.approx((1 / (1 + np.exp(-1))) / 2, abs=1e-3)
    assert not outvoted(study).labels.any()
    assert agreed(study).labels.any()


def test_a_study_smaller_than_a_patch_is_predicted(study: Volume) -> None:
    small = Volume(study.hu[8:11, 6:8, 4:9], study.geometry.cropped((8, 6, 4), (3, 2, 5)))

    assert (predictor(Threshold(0.0))(small).labels == 40).all()
