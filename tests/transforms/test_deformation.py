"""Affine and elastic deformation against geometry: what turns, grows, leans and bends, and that labels go along."""

import numpy as np
import pytest
import torch

from medseg.transforms.deformation import FOLD_FREE, AffineParams, ElasticParams, Route, Warp, forward_route, voxel_map
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


def test_shear_leans_one_axis_towards_another_and_keeps_the_volume():
    lean = AffineParams(shear_deg=(45.0, 0.0, 0.0)).matrix
    np.testing.assert_allclose(lean @ [0, 1, 0], [1, 1, 0], atol=1e-12)
    assert np.linalg.det(AffineParams((10.0, 20.0, 30.0), shear_deg=(20.0, -10.0, 5.0)).matrix) == pytest.approx(1)


def test_shear_moves_voxels_by_millimetres_along_the_leaning_line():
    labels = torch.zeros(1, 9, 5, 1, dtype=torch.int16)
    labels[0, 4] = 1  # a line along Y, of voxels of 2 mm
    leant = warp_labels(labels, Warp((1.0, 2.0, 1.0), AffineParams(shear_deg=(45.0, 0.0, 0.0))))
    assert leant[0, :, :, 0].nonzero().tolist() == [[0, 0], [2, 1], [4, 2], [6, 3], [8, 4]]


def test_voxel_map_sends_the_centre_to_itself():
    matrix = voxel_map(Warp(ANISOTROPIC, AffineParams((10.0, 20.0, 30.0), (1.2, 1.0, 0.9))), (11, 21, 31))
    np.testing.assert_allclose(matrix @ [5, 10, 15, 1], [5, 10, 15, 1], atol=1e-12)
