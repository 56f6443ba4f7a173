"""Which channels a transform changes."""

import numpy as np
import pytest
import torch

from medseg.transforms.channels import Channels, each_channel, on_channels, some_channels


def test_channels_act_with_the_given_probability():
    acting = [acts for seed in range(1000) for acts in Channels(0.3, seed).acting(4)]
    assert np.mean(acting) == pytest.approx(0.3, abs=0.03)


def test_a_channel_acts_whatever_the_number_of_channels():
    chosen = Channels(0.5, seed=8)
    assert chosen.acting(7)[:3] == chosen.acting(3)


def test_at_probability_one_all_channels_act_and_no_choice_is_noted():
    assert some_channels(np.random.default_rng(0), 1.0) is None
    assert on_channels(torch.zeros(3, 1, 1, 1), None, lambda part: part + 1).sum() == 3


def test_at_probability_zero_the_image_stays():
    image = torch.zeros(3, 1, 1, 1)
    assert on_channels(image, Channels(0.0, 1), lambda part: part + 1) is image


def test_later_draws_do_not_depend_on_the_probability():
    rngs = [np.random.default_rng(0) for _ in range(2)]
    some_channels(rngs[0], 1.0), some_channels(rngs[1], 0.5)
    assert rngs[0].uniform() == rngs[1].uniform()


def test_each_channel_is_changed_by_itself():
    image = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    assert each_channel(lambda part: part / part.sum())(image).flatten().tolist() == [1.0, 1.0]
