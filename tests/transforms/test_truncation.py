"""Truncation: what is cut, in mm, and what becomes of the labels there."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError, LabelError
from medseg.transforms.truncation import TruncationConfig, TruncationParams, beyond_field

SPACING = (2.0, 1.0, 3.0)


def params(**changes) -> TruncationParams:
    settings = {"shape": "circle", "reach_mm": 25.0, "middle_mm": (0.0, 0.0), "side": 0, "spacing_mm": SPACING,
                "outside_hu": -1024.0, "outside_labels": "background"}  # fmt: skip
    return TruncationParams(**(settings | changes))


def test_a_circle_keeps_what_lies_within_its_radius_in_mm():
    away = np.hypot((np.arange(40) - 19.5)[:, None] * 2 - 6, (np.arange(70) - 34.5)[None] + 4)
    np.testing.assert_array_equal(beyond_field((40, 70), params(middle_mm=(6.0, -4.0))), away > 25)


@pytest.mark.parametrize(("side", "kept"), [(0, np.s_[4:]), (1, np.s_[:8]), (2, np.s_[:, 2:]), (3, np.s_[:, :16])])
def test_a_side_keeps_its_reach_in_mm(side, kept):
    expected = np.ones((12, 18), dtype=bool)
    expected[kept] = False
    np.testing.assert_array_equal(beyond_field((12, 18), params(shape="side", side=side, reach_mm=16.0)), expected)


def test_outside_becomes_the_reconstructions_padding_in_all_slices():
    image = torch.full((2, 40, 70, 5), 40.0)
    cut = TruncationConfig().build().apply_image(image, params())
    outside = torch.from_numpy(beyond_field((40, 70), params()))
    assert bool((cut[:, outside] == -1024).all() and (cut[:, ~outside] == 40).all() and (image == 40).all())


@pytest.mark.parametrize("shape", ["circle", "side"])
def test_a_field_as_large_as_the_image_is_the_identity(shape):
    image, labels = torch.randn(1, 9, 8, 3), torch.ones(2, 9, 8, 3, dtype=torch.int16)
    step = TruncationConfig(probability=1, shapes=(shape,), size=(1, 1), offset_mm=0).build()
    drawn = step.sample(np.random.default_rng(0), (9, 8, 3), SPACING)
    assert torch.equal(step.apply_image(image, drawn), image) and torch.equal(step.apply_labels(labels, drawn), labels)


@pytest.mark.parametrize(
    ("rule", "expected"), [("background", [0, 0, -1]), ("ignore", [-1, -1, -1]), ("keep", [3, 0, -1])]
)
def test_integer_labels_outside_follow_the_rule_and_unknown_ones_stay(rule, expected):
    labels = torch.tensor([3, 0, -1], dtype=torch.int16)[:, None, None, None].repeat(1, 40, 70, 2)
    cut = TruncationConfig().build().apply_labels(labels, params(outside_labels=rule))
    assert cut[:, 0, 0, 0].tolist() == expected and cut[:, 20, 35, 1].tolist() == [3, 0, -1]


def test_soft_targets_outside_become_background_and_sum_to_one():
    soft = torch.tensor([0.2, 0.5, 0.3])[:, None, None, None].repeat(1, 40, 70, 2)
    cut = TruncationConfig().build().apply_labels(soft, params())
    assert cut[:, 0, 0, 0].tolist() == [1, 0, 0] and torch.equal(cut[:, 20, 35], soft[:, 20, 35])


@pytest.mark.parametrize("labels", [torch.ones(1, 40, 70, 2, dtype=torch.uint8), torch.full((2, 40, 70, 2), 0.5)])
def test_labels_that_cannot_say_unknown_are_refused_under_ignore(labels):
    with pytest.raises(LabelError, match="unknown"):
        TruncationConfig().build().apply_labels(labels, params(outside_labels="ignore"))


def test_drawn_fields_have_their_sizes():
    step = TruncationConfig(probability=1, size=(0.6, 0.8), offset_mm=5).build()
    drawn = [step.sample(np.random.default_rng(seed), (40, 70, 9), SPACING) for seed in range(200)]
    for p in drawn:
        whole = np.hypot(80, 70) / 2 if p.shape == "circle" else (80, 80, 70, 70)[p.side]
        assert 0.6 <= p.reach_mm / whole <= 0.8 and max(map(abs, p.middle_mm)) <= 5
    assert {(p.shape, p.side) for p in drawn} == {(kind, side) for kind in ("circle", "side") for side in range(4)}


@pytest.mark.parametrize("wrong", [{"size": [0.5, 1.2]}, {"shapes": []}, {"outside_labels": "drop"}])
def test_wrong_truncation_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_config(TruncationConfig, wrong)
