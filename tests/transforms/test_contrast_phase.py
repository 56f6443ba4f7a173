"""Contrast phase: each class by its own shift, weighted by raters, with no step at the label's edge."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError, UsageError
from medseg.transforms.contrast_phase import ContrastPhaseConfig, ContrastPhaseParams, shift_field

SHIFTS = ContrastPhaseParams((40.0, -20.0), 1.0, (1.0, 1.0, 1.0))
DEEP, FAR = (slice(None), 15, 15, 15), (slice(None), slice(0, 4))


def labelled(value: int = 1) -> torch.Tensor:
    labels = torch.zeros(1, 30, 30, 30, dtype=torch.int16)
    labels[:, 9:21, 9:21, 9:21] = value
    return labels


def after(labels: torch.Tensor, hu: float = 60.0, params: ContrastPhaseParams = SHIFTS) -> torch.Tensor:
    sample = {"image": torch.full((1, 30, 30, 30), hu), "labels": labels}
    return ContrastPhaseConfig().build().apply(sample, params)["image"] - hu


@pytest.mark.parametrize(("value", "shift"), [(1, 40), (2, -20), (3, 40), (-1, 0)])
def test_deep_inside_a_class_gains_its_shift_and_far_away_nothing_changes(value, shift):
    change = after(labelled(value))
    assert float(change[DEEP]) == pytest.approx(shift, abs=1e-3) and not bool(change[FAR].any())


def test_two_raters_who_disagree_shift_by_half():
    assert float(after(torch.cat([labelled(1), labelled(0)]))[DEEP]) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_labels_of_any_type_count_alike(dtype):
    assert torch.equal(after(labelled(3).to(dtype)), after(labelled(3)))


def test_an_unknown_opinion_does_not_count():
    assert float(after(torch.cat([labelled(1), labelled(-1)]))[DEEP]) == pytest.approx(40, abs=1e-3)


def test_soft_targets_weigh_by_probability():
    inside = (labelled() > 0).float() * 0.25
    soft = torch.cat([1 - inside, inside])
    assert float(after(soft)[DEEP]) == pytest.approx(10, abs=1e-3)


@pytest.mark.parametrize(("hu", "share"), [(-100.0, 0), (-50.0, 0), (-20.0, 0.5), (10.0, 1), (300.0, 1)])
def test_fat_and_gas_take_up_no_agent(hu, share):
    assert float(after(labelled(), hu)[DEEP]) == pytest.approx(40 * share, abs=1e-3)


def test_no_step_gives_the_labels_edge_away():
    params = ContrastPhaseParams((40.0,), 2.0, (1.0, 1.0, 1.0))
    change = after(labelled(), params=params)[0, 15, 15]
    assert float(change.diff().abs().max()) < 40 * 0.25 and float(change.max()) > 39


def test_blur_is_equal_in_mm_along_all_axes():
    plane = torch.zeros(1, 40, 40, 20, dtype=torch.int16)
    plane[:, 20:] = 1
    thick = torch.zeros(1, 40, 40, 20, dtype=torch.int16)
    thick[..., 10:] = 1
    params = ContrastPhaseParams((40.0,), 4.0, (1.0, 1.0, 2.0))
    along_x, along_z = shift_field(plane, params)[:, 20, 10], shift_field(thick, params)[20, 20]
    centres = (along_x[0::2] + along_x[1::2]) / 2  # pairs of 1 mm voxels lie where those of 2 mm do
    torch.testing.assert_close(along_z, centres, rtol=0, atol=0.5)


def test_no_shift_is_the_identity():
    none = ContrastPhaseParams((0.0, 0.0), 2.0, (1.0, 1.0, 1.0))
    assert not bool(after(labelled(), params=none).any())


def test_labels_and_given_tensors_stay():
    sample = {"image": torch.full((1, 30, 30, 30), 60.0), "labels": labelled()}
    moved = ContrastPhaseConfig().build().apply(sample, SHIFTS)
    assert torch.equal(moved["labels"], labelled()) and bool((sample["image"] == 60).all())


def test_an_image_without_labels_is_refused():
    step = ContrastPhaseConfig().build(allow_missing_keys=True)
    with pytest.raises(UsageError, match="contrast_phase needs labels"):
        step.apply({"image": torch.zeros(1, 4, 4, 4)}, SHIFTS)
    with pytest.raises(UsageError, match="an image alone"):
        step.apply_image(torch.zeros(1, 4, 4, 4), SHIFTS)


def test_classes_have_their_own_ranges():
    step = ContrastPhaseConfig(
        probability=1, shift_hu=(1, 2), class_shift_hu={2: (0, 0), 3: (50, 60)}, classes=4
    ).build()
    drawn = [step.sample(np.random.default_rng(seed), (4, 4, 4), (1, 1, 1)).shifts_hu for seed in range(30)]
    low, high = np.min(drawn, axis=0), np.max(drawn, axis=0)
    assert (low >= (1, 0, 50, 1)).all() and (high <= (2, 0, 60, 2)).all()


def test_a_class_beyond_those_drawn_is_refused():
    with pytest.raises(ConfigError, match="classes"):
        build_config(ContrastPhaseConfig, {"class_shift_hu": {30: [0, 10]}})


def test_both_sides_of_a_mirror_pair_gain_alike():
    step = ContrastPhaseConfig(probability=1, classes=4).build(mirror_pairs=[(2, 3), (5, 6)])
    shifts = step.sample(np.random.default_rng(0), (4, 4, 4), (1, 1, 1)).shifts_hu
    assert shifts[1] == shifts[2] and shifts[4] == shifts[5] and len(set(shifts)) == 4
