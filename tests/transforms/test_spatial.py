"""Affine and elastic deformation against geometry: what turns, grows and bends, and that labels go along."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.deformation import FOLD_FREE, AffineParams, ElasticParams, Route, Warp, forward_route, voxel_map
from medseg.transforms.spatial import AffineConfig, ElasticConfig, thick_axis
from medseg.transforms.warp import warp_image, warp_labels
from medseg.transforms.warp_torch import displacement, source_places

CPU = torch.device("cpu")

ISOTROPIC = (1.0, 1.0, 1.0)
ANISOTROPIC = (1.0, 1.0, 4.0)
BEND = ElasticParams(control_spacing_mm=8.0, displacement_mm=8.0 * FOLD_FREE, seed=3)


def shifts_mm(elastic: ElasticParams, shape, spacing_mm) -> torch.Tensor:
    route = forward_route(Warp(spacing_mm, elastic=elastic), shape)
    return displacement(route, shape, CPU) * torch.tensor(spacing_mm)[:, None, None, None]


def places(warp: Warp, shape) -> tuple[torch.Tensor, ...]:
    return source_places(forward_route(warp, shape), warp.target(shape), CPU)


def random_labels(shape=(12, 12, 12), raters=2, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 4, (raters, *shape), dtype=torch.int16, generator=generator)


def ball(shape, spacing_mm, radius_mm) -> torch.Tensor:
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    return torch.from_numpy((distance < radius_mm).astype(np.int16))[None]


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
def test_rotation_by_90_degrees_equals_rot90(axis, plane):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = 90.0
    warp = Warp(ISOTROPIC, AffineParams(rotation_deg=tuple(angles)))
    labels = random_labels()
    image = labels[:1].float() * 100

    expected = torch.from_numpy(np.rot90(labels.numpy(), axes=[a + 1 for a in plane]).copy())
    assert torch.equal(warp_labels(labels, warp), expected)
    torch.testing.assert_close(warp_image(image, warp), expected[:1].float() * 100, atol=0.05, rtol=0)


def test_rotations_are_applied_about_x_then_y_then_z():
    moved = AffineParams(rotation_deg=(90.0, 0.0, 90.0)).matrix @ [0, 1, 0]  # Y turns to Z about X, Z stays about Z
    np.testing.assert_allclose(moved, [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("factor", [0.8, 1.25])
@pytest.mark.parametrize("spacing_mm", [ISOTROPIC, (1.0, 1.5, 2.0)])
def test_scaling_changes_a_volume_by_the_cube_of_the_factor(factor, spacing_mm):
    labels = ball((60, 40, 30), spacing_mm, radius_mm=11)
    scaled = warp_labels(labels, Warp(spacing_mm, AffineParams(scale=(factor,) * 3)))
    assert int(scaled.sum()) / int(labels.sum()) == pytest.approx(factor**3, rel=0.03)


def test_scale_of_one_axis_stretches_along_it_only():
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.int16)
    labels[:, 7:13, 7:13, 7:13] = 1
    scaled = warp_labels(labels, Warp(ISOTROPIC, AffineParams(scale=(1.0, 2.0, 1.0))))[0]
    extent = [int(scaled.amax(dim=[d for d in range(3) if d != axis]).sum()) for axis in range(3)]
    assert extent == [6, 12, 6]


def test_rotation_keeps_a_ball_round_on_an_anisotropic_grid():
    labels = ball((40, 40, 10), ANISOTROPIC, radius_mm=14)
    turned = warp_labels(labels, Warp(ANISOTROPIC, AffineParams(rotation_deg=(90.0, 0.0, 0.0))))
    overlap = 2 * int((turned & labels).sum()) / int(turned.sum() + labels.sum())
    assert overlap > 0.9  # the rest is the 4 mm staircase; turned without the spacing, 28 mm become 7 mm and 112 mm


def test_translation_moves_by_millimetres():
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int16)
    labels[0, 2, 2, 2] = 1
    moved = warp_labels(labels, Warp((1.0, 2.0, 4.0), AffineParams(translation_mm=(3.0, 4.0, 8.0))))
    assert moved.nonzero().tolist() == [[0, 5, 4, 4]]


def test_outside_is_air_in_the_image_and_background_in_the_labels():
    warp = Warp(ISOTROPIC, AffineParams(translation_mm=(5.0, 0.0, 0.0)))
    image, labels = torch.full((1, 8, 8, 8), 40.0), torch.full((1, 8, 8, 8), -1, dtype=torch.int16)
    assert torch.equal(warp_image(image, warp)[0, :5], torch.full((5, 8, 8), -1024.0))
    assert torch.equal(warp_labels(labels, warp)[0, :5], torch.zeros((5, 8, 8), dtype=torch.int16))
    assert (warp_labels(labels, warp)[0, 5:] == -1).all()


def test_image_and_labels_end_at_the_same_voxels():
    image, labels = torch.full((1, 12, 12, 6), 40.0), torch.ones(1, 12, 12, 6, dtype=torch.int16)
    warp = Warp((1.0, 1.0, 3.0), AffineParams((15.0, -10.0, 40.0), (0.8, 0.8, 0.8)), BEND)
    inside = warp_labels(labels, warp) == 1
    torch.testing.assert_close(warp_image(image, warp), torch.where(inside, 40.0, -1024.0))
    assert 0 < inside.sum() < inside.numel()


@given(st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=20)
def test_integer_labels_get_no_new_value(seed, bends):
    config = ElasticConfig(probability=1) if bends else AffineConfig(probability=1)
    transform = config.build()
    labels = random_labels(seed=seed) * 7
    params = transform.sample(np.random.default_rng(seed), (12, 12, 12), (1, 1, 3))
    moved = transform.apply_labels(labels, params)
    assert moved.dtype == labels.dtype and set(moved.unique().tolist()) <= {0, *labels.unique().tolist()}


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_soft_targets_keep_their_sum_and_stay_shares(seed):
    soft = torch.softmax(torch.randn(4, 9, 8, 7, generator=torch.Generator().manual_seed(seed)) * 3, dim=0)
    transform = AffineConfig(probability=1, rotation_deg=90, translation_mm=5).build()
    moved = transform.apply_labels(soft, transform.sample(np.random.default_rng(seed), (9, 8, 7), (1, 1, 2)))
    torch.testing.assert_close(moved.sum(0), torch.ones(9, 8, 7), atol=1e-5, rtol=0)
    assert moved.min() >= -1e-6


def test_soft_targets_are_interpolated_without_argmax():
    soft = torch.zeros(2, 4, 1, 1)
    soft[1, 2:], soft[0, :2] = 1, 1
    moved = warp_labels(soft, Warp(ISOTROPIC, AffineParams(translation_mm=(0.5, 0.0, 0.0))))
    torch.testing.assert_close(moved[1, :, 0, 0], torch.tensor([0.0, 0.0, 0.5, 1.0]))


@pytest.mark.parametrize("elastic", [None, BEND])
def test_image_and_labels_move_together(elastic):
    labels = ball((24, 24, 12), (1.0, 1.0, 2.0), radius_mm=8)
    warp = Warp((1.0, 1.0, 2.0), AffineParams((10.0, 20.0, 30.0), (1.1, 0.9, 1.0)), elastic, outside_hu=0)
    from_image = warp_image(labels.float(), warp) > 0.5
    differ = from_image != warp_labels(labels, warp).bool()
    assert differ.sum() < 0.05 * labels.sum()  # only voxels that the border cuts in half may round differently


def test_every_rater_is_treated_identically():
    one = random_labels(raters=1)
    warp = Warp(ISOTROPIC, AffineParams((5.0, 6.0, 7.0)), BEND)
    both = warp_labels(torch.cat([one, one]), warp)
    assert torch.equal(both[0], both[1]) and torch.equal(both[:1], warp_labels(one, warp))


def test_identity_parameters_change_nothing():
    labels = random_labels()
    warp = Warp(ANISOTROPIC, AffineParams())
    assert torch.equal(warp_labels(labels, warp), labels)
    assert torch.equal(warp_image(labels.float(), warp), labels.float())


def test_joined_affine_and_elastic_equal_one_after_the_other():
    x, y, z = np.meshgrid(*(np.arange(40.0),) * 3, indexing="ij")
    smooth = torch.from_numpy(100 * np.sin(x / 9) * np.cos(y / 11) + z).float()[None]  # survives two interpolations
    turn = Warp(ISOTROPIC, AffineParams((10.0, -5.0, 20.0), (1.1, 0.9, 1.05), (2.0, 0.0, -3.0)))
    bend = Warp(ISOTROPIC, elastic=ElasticParams(16.0, 6.0, seed=1))
    joined = turn.joined(bend)
    assert joined is not None and joined == bend.joined(turn)
    difference = (warp_image(smooth, joined) - warp_image(warp_image(smooth, turn), bend))[:, 12:28, 12:28, 12:28]
    assert difference.abs().max() < 1.0  # of an amplitude of 100


def test_two_affine_parts_are_not_joined():
    turn = Warp(ISOTROPIC, AffineParams((10.0, 0.0, 0.0)))
    assert turn.joined(turn) is None


@pytest.mark.parametrize("seed", range(10))
def test_elastic_at_its_bound_does_not_fold(seed):
    """16 samples between two control points."""
    bend = ElasticParams(8.0, 8.0 * FOLD_FREE, seed)
    where = torch.stack(places(Warp((0.5,) * 3, elastic=bend), (64, 48, 48))).numpy()
    jacobian = np.stack([np.stack(np.gradient(part)) for part in where])
    assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 1), (0,)])
def test_control_points_set_against_each_other_at_the_bound_do_not_fold(axes):
    """The worst the bound allows: every control point at its limit, towards a point along the axes said."""
    limit, count = FOLD_FREE, 12
    side = sum(np.sign(np.indices((count,) * 3)[axis] - count / 2 + 0.5) for axis in axes)
    controls = np.zeros((3, count, count, count))
    controls[list(axes)] = -np.clip(side, -1, 1) * limit * 8
    route = Route(np.eye(4)[:3], controls, np.full(3, 1 / 8), (64,) * 3, False, False)
    where = torch.stack(source_places(route, (64, 64, 64), CPU)).double().numpy()
    determinants = np.linalg.det(np.moveaxis(np.stack([np.stack(np.gradient(p)) for p in where]), (0, 1), (-2, -1)))
    assert 0 < determinants.min() < 0.7


def test_displacement_is_in_millimetres_whatever_the_spacing():
    fine = shifts_mm(BEND, (33, 33, 33), (0.5, 0.5, 0.5))
    coarse = shifts_mm(BEND, (17, 17, 9), (1.0, 1.0, 2.0))
    torch.testing.assert_close(fine[:, ::2, ::2, ::4], coarse)


def test_elastic_looks_up_voxels_at_the_displacement_in_millimetres():
    spacing_mm, shape = (1.0, 2.0, 4.0), (20, 12, 8)
    where = places(Warp(spacing_mm, elastic=BEND), shape)
    moved_mm = shifts_mm(BEND, shape, spacing_mm)
    for axis, index in enumerate(np.indices(shape)):
        torch.testing.assert_close((where[axis] - torch.from_numpy(index)).float() * spacing_mm[axis], moved_mm[axis],
                                   atol=1e-4, rtol=0)  # fmt: skip


def test_displacement_stays_below_that_of_the_control_points():
    assert shifts_mm(BEND, (20, 20, 20), ISOTROPIC).abs().max() <= BEND.displacement_mm


def test_sampled_affine_parameters_lie_in_their_ranges():
    affine = AffineConfig(probability=1, rotation_deg=(1, 2, 3), scale=(0.5, 2), translation_mm=4).build()
    rng = np.random.default_rng(0)
    drawn = [affine.sample(rng, (8, 8, 8), ISOTROPIC).affine for _ in range(500)]
    assert (np.abs([p.rotation_deg for p in drawn]).max(axis=0) <= (1, 2, 3)).all()
    assert np.abs([p.translation_mm for p in drawn]).max() <= 4
    scales = np.log([p.scale for p in drawn])
    assert abs(scales.mean()) < 0.1 and np.abs(scales).max() <= np.log(2 * 1.06)


def drawn_affines(count=400, shape=(8, 8, 8), spacing_mm=ISOTROPIC, **settings) -> list:
    affine, rng = AffineConfig(**{"probability": 1, **settings}).build(), np.random.default_rng(0)
    warps = [affine.sample(rng, shape, spacing_mm) for _ in range(count)]
    return [None if warp is None else warp.affine for warp in warps]


def test_shear_leans_one_axis_towards_another_and_keeps_the_volume():
    lean = AffineParams(shear_deg=(45.0, 0.0, 0.0)).matrix
    np.testing.assert_allclose(lean @ [0, 1, 0], [1, 1, 0], atol=1e-12)
    assert np.linalg.det(AffineParams((10.0, 20.0, 30.0), shear_deg=(20.0, -10.0, 5.0)).matrix) == pytest.approx(1)


def test_shear_moves_voxels_by_millimetres_along_the_leaning_line():
    labels = torch.zeros(1, 9, 5, 1, dtype=torch.int16)
    labels[0, 4] = 1  # a line along Y, of voxels of 2 mm
    leant = warp_labels(labels, Warp((1.0, 2.0, 1.0), AffineParams(shear_deg=(45.0, 0.0, 0.0))))
    assert leant[0, :, :, 0].nonzero().tolist() == [[0, 0], [2, 1], [4, 2], [6, 3], [8, 4]]


def test_parts_of_an_affine_fire_with_their_own_probabilities():
    drawn = drawn_affines(2000, rotation_probability=0.2, scale_probability=0.4, axis_scale=(1, 1))
    rotated = np.array([affine is not None and affine.rotation_deg != (0, 0, 0) for affine in drawn])
    scaled = np.array([affine is not None and affine.scale != (1, 1, 1) for affine in drawn])
    assert abs(rotated.mean() - 0.2) < 0.045 and abs(scaled.mean() - 0.4) < 0.055  # 5 standard errors
    assert abs((rotated & scaled).mean() - 0.08) < 0.03
    assert all((affine is None) == (not r and not s) for affine, r, s in zip(drawn, rotated, scaled, strict=True))


def test_a_part_that_does_not_fire_leaves_what_the_others_draw():
    both, scale_only = drawn_affines(20), drawn_affines(20, rotation_probability=0)
    assert [affine.scale for affine in both] == [affine.scale for affine in scale_only]
    assert {affine.rotation_deg for affine in scale_only} == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("draw", "mean"),
    [("uniform", 1.25), ("reciprocal", 2 * np.log(2) / 1.5), ("log_uniform", 1.5 / np.log(4))],
)
def test_scale_is_drawn_as_said(draw, mean):
    scales = [affine.scale[0] for affine in drawn_affines(3000, scale=(0.5, 2), axis_scale=(1, 1), scale_draw=draw)]
    assert 0.5 <= min(scales) < 0.52 and 1.9 < max(scales) <= 2
    assert np.mean(scales) == pytest.approx(mean, abs=0.04)  # 5 standard errors of the widest, 0.43 / sqrt(3000)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "thick"),
    [((8, 8, 8), (1, 1, 3.5), 2), ((8, 8, 8), (4, 1, 1), 0), ((20, 5, 20), (1, 1, 1), 1), ((8, 8, 4), (1, 1, 3), None)],
)
def test_very_unequal_axes_keep_slices_as_slices(shape, spacing_mm, thick):
    settings = {"rotation_deg": 10, "shear_deg": 5, "in_plane_rotation_deg": 180}
    drawn = drawn_affines(50, shape, spacing_mm, **settings)
    assert thick_axis(shape, spacing_mm, 3.0) == thick
    if thick is None:
        assert all(min(np.abs(affine.rotation_deg)) > 0 for affine in drawn)
        return
    across = [voxel_map(Warp(spacing_mm, affine), shape) - np.eye(4) for affine in drawn]
    assert all(np.abs(m[thick]).max() < 1e-9 and np.abs(m[:3, thick]).max() < 1e-9 for m in across)
    assert max(abs(affine.rotation_deg[thick]) for affine in drawn) > 90


def test_a_volume_of_one_slice_is_not_turned_or_bent_out_of_itself():
    shape, rng = (16, 16, 1), np.random.default_rng(0)
    for config in (AffineConfig(probability=1), ElasticConfig(probability=1, outside_hu="repeat")):
        transform = config.build()
        labels = torch.ones(1, *shape, dtype=torch.int16)
        labels[:, 0], labels[:, -1] = 0, 0
        moved = [transform.apply_labels(labels, transform.sample(rng, shape, ISOTROPIC)) for _ in range(5)]
        assert all(part.float().mean() > 0.5 for part in moved)


def test_identity_ranges_do_not_act():
    assert drawn_affines(5, rotation_deg=0, scale=(1, 1), axis_scale=(1, 1)) == [None] * 5


def test_voxel_map_sends_the_centre_to_itself():
    matrix = voxel_map(Warp(ANISOTROPIC, AffineParams((10.0, 20.0, 30.0), (1.2, 1.0, 0.9))), (11, 21, 31))
    np.testing.assert_allclose(matrix @ [5, 10, 15, 1], [5, 10, 15, 1], atol=1e-12)


def test_elastic_that_could_fold_is_refused():
    with pytest.raises(ConfigError, match=r"at most 8\.07"):
        build_config(ElasticConfig, {"control_spacing_mm": 20, "displacement_mm": [0, 9]})


@pytest.mark.parametrize(
    "wrong", [{"scale": [0, 1]}, {"rotation_deg": -5}, {"probability": 1.5}, {"rotation_deg": [1]}]
)
def test_wrong_affine_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_config(AffineConfig, wrong)
