"""The HU window: what its ends become, and how they move."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.window import WindowConfig, WindowParams, window_image


def test_ends_of_the_window_become_the_ends_of_the_output():
    image = torch.tensor([-3000.0, -100.0, 50.0, 200.0, 3000.0])
    assert window_image(image, (-100, 200), (-1, 1)).tolist() == [-1, -1, 0, 1, 1]


def test_window_acts_also_when_the_jitter_does_not():
    params = WindowConfig(probability=0, jitter_hu=50).build().sample(np.random.default_rng(0), (2, 2, 2), (1, 1, 1))
    assert params == WindowParams((-160.0, 240.0))


def test_jittered_ends_stay_within_the_jitter_and_differ():
    window = WindowConfig(jitter_hu=20).build()
    rng = np.random.default_rng(0)
    ends = np.array([window.sample(rng, (2, 2, 2), (1, 1, 1)).window_hu for _ in range(200)]) - [-160, 240]
    assert np.abs(ends).max() <= 20 and ends.std(axis=0).min() > 8  # a uniform spread of 20 has 11.5


def test_labels_pass_through_untouched():
    labels = torch.ones(2, 2, 2, 2, dtype=torch.int16)
    sample = WindowConfig().build()({"image": torch.zeros(1, 2, 2, 2), "labels": labels})
    assert sample["labels"] is labels


def test_jitter_that_could_close_the_window_is_refused():
    with pytest.raises(ConfigError, match="half of the window"):
        build_config(WindowConfig, {"window_hu": [0, 100], "jitter_hu": 50})


def test_window_whose_ends_are_swapped_is_refused():
    with pytest.raises(ConfigError, match="low <= high"):
        build_config(WindowConfig, {"window_hu": [100, 0]})
