"""Turns by 90 degrees and exchanged axes against index arithmetic, names of left and right included."""

from itertools import permutations

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError, UsageError
from medseg.transforms.deformation import AffineParams, Warp
from medseg.transforms.entries import Entries
from medseg.transforms.flip import FlipConfig, FlipParams
from medseg.transforms.rot90 import Rot90Config, Rot90Params, TransposeConfig, TransposeParams
from medseg.transforms.warp import warp_labels

SHAPE, CUBE = (5, 4, 3), (6, 6, 6)
ORDERS = [order for order in permutations(range(3)) if order != (0, 1, 2)]
TURNS = [(axis, turns) for axis in range(3) for turns in (1, 2, 3)]


def indices(shape=SHAPE) -> torch.Tensor:
    return torch.from_numpy(np.indices(shape)).float()


def two_sided(shape=CUBE) -> torch.Tensor:
    """1 on the left half of X, 2 on the right."""
    labels = torch.ones(1, *shape, dtype=torch.int16)
    labels[:, shape[0] // 2 :] = 2
    return labels


def assert_map_tells_where_voxels_came_from(moved: torch.Tensor, matrix: np.ndarray) -> None:
    points = np.indices(moved.shape[1:]).reshape(3, -1)
    expected = (matrix[:3, :3] @ points + matrix[:3, 3:]).reshape(moved.shape)
    np.testing.assert_array_equal(moved.numpy(), expected)


@pytest.mark.parametrize(("axis", "turns"), TURNS)
def test_voxel_map_of_a_turn_tells_where_voxels_came_from(axis, turns):
    rot90, params = Rot90Config().build(), Rot90Params(axis, turns)
    assert_map_tells_where_voxels_came_from(rot90.apply_image(indices(), params), rot90.voxel_map(params, SHAPE))


@pytest.mark.parametrize("order", ORDERS)
def test_voxel_map_of_exchanged_axes_tells_where_voxels_came_from(order):
    transpose, params = TransposeConfig().build(), TransposeParams(order)
    moved = transpose.apply_image(indices(), params)
    assert_map_tells_where_voxels_came_from(moved, transpose.voxel_map(params, SHAPE))


@pytest.mark.parametrize(("axis", "turns"), TURNS)
def test_a_turn_equals_the_affine_rotation_by_its_angle(axis, turns):
    labels = torch.randint(0, 9, (1, *CUBE), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    angles = tuple(90.0 * turns if a == axis else 0.0 for a in range(3))
    expected = warp_labels(labels, Warp((1.0, 1.0, 1.0), AffineParams(rotation_deg=angles)))
    assert torch.equal(Rot90Config().build().apply_labels(labels, Rot90Params(axis, turns)), expected)


@pytest.mark.parametrize("params", [*(Rot90Params(a, t) for a, t in TURNS), *map(TransposeParams, ORDERS)], ids=str)
def test_turned_back_is_the_same_names_included(params):
    config = Rot90Config() if isinstance(params, Rot90Params) else TransposeConfig()
    options = {} if isinstance(params, Rot90Params) else {"mirror_pairs": [(1, 2)]}
    transform = config.build(**options)
    entries = Entries({"image": indices()}, {"labels": two_sided(SHAPE)}, (1.0, 1.0, 1.0))
    back = transform.invert_entries(transform.apply_entries(entries, params), params, SHAPE)
    assert torch.equal(back.images["image"], entries.images["image"])
    assert torch.equal(back.labels["labels"], entries.labels["labels"])


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "quarters"),
    [((6, 6, 4), (1.0, 1.0, 3.0), True), ((6, 5, 6), (1.0, 1.0, 1.0), False), (CUBE, (1.0, 1.1, 1.0), False)],
    ids=["square", "longer", "larger voxels"],
)
def test_quarter_turns_are_drawn_only_where_they_keep_shape_and_spacing(shape, spacing_mm, quarters):
    rot90, rng = Rot90Config(probability=1, axes=(2,)).build(), np.random.default_rng(0)
    turns = {rot90.sample(rng, shape, spacing_mm).turns for _ in range(60)}
    assert turns == ({1, 2, 3} if quarters else {2})


def test_only_axes_of_equal_number_and_size_of_voxels_are_exchanged():
    transpose, rng = TransposeConfig(probability=1).build(), np.random.default_rng(0)
    assert {transpose.sample(rng, (6, 6, 4), (1.0, 1.0, 1.0)).order for _ in range(30)} == {(1, 0, 2)}
    assert {transpose.sample(rng, CUBE, (1.0, 2.0, 2.0)).order for _ in range(30)} == {(0, 2, 1)}
    assert transpose.sample(rng, SHAPE, (1.0, 1.0, 1.0)) is None


def test_all_orders_of_a_cube_are_drawn_alike():
    transpose, rng = TransposeConfig(probability=1).build(), np.random.default_rng(0)
    drawn = [transpose.sample(rng, CUBE, (1.0, 1.0, 1.0)).order for _ in range(1000)]
    for order in ORDERS:
        assert abs(drawn.count(order) / 1000 - 0.2) < 0.06  # 4.7 standard errors


def test_a_turn_keeps_the_names_of_left_and_right():
    turned = Rot90Config().build().apply_labels(two_sided(), Rot90Params(2, 2))
    assert (turned[:, :3] == 2).all() and (turned[:, 3:] == 1).all()


def test_by_chirality_two_exchanged_axes_swap_names_and_a_cycle_of_three_does_not():
    transpose = TransposeConfig().build(mirror_pairs=[(1, 2)])
    labels = two_sided()
    assert torch.equal(transpose.apply_labels(labels, TransposeParams((0, 2, 1))), 3 - labels)
    cycled = transpose.apply_labels(labels, TransposeParams((1, 2, 0)))
    assert torch.equal(cycled, labels.permute(0, 2, 3, 1))


def test_by_side_names_stay_with_the_left_right_axis():
    transpose = TransposeConfig(axes=(1, 2), swap="side").build(mirror_pairs=[(1, 2)])
    assert torch.equal(transpose.apply_labels(two_sided(), TransposeParams((0, 2, 1))), two_sided())


def test_by_chirality_flips_and_turns_that_give_the_same_picture_give_the_same_names():
    flip = FlipConfig(axes=(0, 1, 2), swap="chirality").build(mirror_pairs=[(1, 2)])
    rot90 = Rot90Config().build()
    labels = two_sided()
    labels[:, 0, 0, 0] = 5
    half_turn = rot90.apply_labels(labels, Rot90Params(2, 2))
    assert torch.equal(flip.apply_labels(labels, FlipParams((0, 1))), half_turn)
    mirrored = rot90.apply_labels(flip.apply_labels(labels, FlipParams((0,))), Rot90Params(2, 2))
    assert torch.equal(flip.apply_labels(labels, FlipParams((1,))), mirrored)


def test_side_of_an_axis_that_moves_is_refused():
    with pytest.raises(UsageError, match="axes without 0"):
        TransposeConfig(swap="side").build()


@pytest.mark.parametrize(("config", "axes"), [(Rot90Config, []), (Rot90Config, [1, 1]), (TransposeConfig, [1])])
def test_axes_that_cannot_be_are_refused(config, axes):
    with pytest.raises(ConfigError, match="each once"):
        build_config(config, {"axes": axes})
