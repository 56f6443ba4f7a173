"""Missing slices: which ones, and what stands in for them."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.missing_slices import MissingSlicesConfig, MissingSlicesParams


def ramp() -> torch.Tensor:
    """Slice k holds 10 k."""
    return (torch.arange(10.0) * 10).expand(1, 4, 3, 10).contiguous()


def profile(fill: str, *blocks: tuple[int, int]) -> list[float]:
    return MissingSlicesConfig().build().apply_image(ramp(), MissingSlicesParams(blocks, fill))[0, 1, 2].tolist()


def test_repeat_takes_the_nearest_slice_that_is_there():
    assert profile("repeat", (3, 7)) == [0, 10, 20, 20, 20, 70, 70, 70, 80, 90]


def test_interpolation_leaves_a_linear_image_as_it_is():
    assert profile("interpolate", (3, 7)) == pytest.approx(ramp()[0, 0, 0].tolist())


def test_air_is_minus_1024():
    assert profile("air", (0, 1), (8, 10)) == [-1024, 10, 20, 30, 40, 50, 60, 70, -1024, -1024]


@pytest.mark.parametrize("fill", ["repeat", "interpolate"])
def test_at_an_end_the_one_neighbour_stands_for_both(fill):
    assert profile(fill, (0, 2), (7, 10)) == [20, 20, 20, 30, 40, 50, 60, 60, 60, 60]


def test_no_block_is_the_identity_and_the_given_tensor_stays():
    image = ramp()
    step = MissingSlicesConfig().build()
    assert torch.equal(step.apply_image(image, MissingSlicesParams((), "air")), image)
    step.apply_image(image, MissingSlicesParams(((2, 5),), "air"))
    assert torch.equal(image, ramp())


@pytest.mark.parametrize("slices", [1, 2])
def test_too_few_slices_are_left_alone(slices):
    step = MissingSlicesConfig(probability=1).build()
    assert step.sample(np.random.default_rng(0), (8, 8, slices), (1, 1, 1)) is None


def test_drawn_blocks_have_their_thickness_and_lie_inside():
    step = MissingSlicesConfig(probability=1, blocks=(1, 2), thickness_mm=(6, 12)).build()
    drawn = [step.sample(np.random.default_rng(seed), (8, 8, 30), (1, 1, 3.0)) for seed in range(100)]
    blocks = [block for p in drawn for block in p.blocks]
    assert {last - first for first, last in blocks} == {2, 3, 4}
    assert min(first for first, _ in blocks) == 0 and max(last for _, last in blocks) == 30
    assert {p.fill for p in drawn} == {"repeat", "interpolate", "air"}


def test_a_block_takes_at_most_a_third():
    step = MissingSlicesConfig(probability=1, thickness_mm=(100, 200)).build()
    (first, last), *_ = step.sample(np.random.default_rng(0), (8, 8, 10), (1, 1, 1)).blocks
    assert last - first == 3


def test_no_fill_is_refused():
    with pytest.raises(ConfigError, match="fills"):
        build_config(MissingSlicesConfig, {"fills": []})
