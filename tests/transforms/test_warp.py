"""The compiled resampling against torch operations, SciPy and MONAI; image and labels in one pass; and its inverse."""

import numpy as np
import pytest
import torch
from monai.transforms.spatial.array import Affine as MonaiAffine
from scipy.ndimage import map_coordinates

from medseg.transforms import warp_torch
from medseg.transforms.deformation import (
    FOLD_FREE,
    AffineParams,
    ElasticParams,
    Warp,
    backward_route,
    forward_route,
    voxel_map,
)
from medseg.transforms.entries import Entries
from medseg.transforms.warp import UNCLIPPED, by_torch, unwarp_entries, warp_entries, warp_image, warp_labels
from medseg.transforms.warp_torch import source_places

SHAPE, SPACING_MM = (26, 22, 15), (1.0, 1.2, 2.0)
TURN = AffineParams((10.0, 20.0, -30.0), (1.1, 0.9, 1.05), (2.0, -1.0, 3.0), (5.0, -8.0, 3.0))
BEND = ElasticParams(12.0, 12.0 * FOLD_FREE, seed=3)
WARPS = {
    "affine": Warp(SPACING_MM, TURN),
    "elastic": Warp(SPACING_MM, elastic=BEND),
    "both": Warp(SPACING_MM, TURN, BEND),
    "patch": Warp(SPACING_MM, TURN, BEND, patch_shape=(16, 12, 9)),
    "corner patch": Warp(SPACING_MM, TURN, patch_shape=(16, 12, 9), patch_start=(0, 10, 6)),
    "repeat": Warp(SPACING_MM, TURN, BEND, outside_hu=None),
    "clipped": Warp(SPACING_MM, TURN, BEND, clip_hu=(-50.0, 80.0)),
    "argmax": Warp(SPACING_MM, TURN, BEND, interpolation="linear_argmax"),
}
INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
every_warp = pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)


def make_entries(shape=SHAPE, channels=2, raters=2) -> Entries:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(channels, *shape, generator=generator) * 100
    labels = torch.randint(-1, 4, (raters, *shape), dtype=torch.int16, generator=generator)
    soft = torch.softmax(torch.randn(3, *shape, generator=generator), dim=0)
    return Entries({"image": image}, {"labels": labels, "soft": soft}, SPACING_MM)


def smooth_image(shape) -> torch.Tensor:
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return torch.from_numpy(100 * np.sin(x / 9) * np.cos(y / 11) + 2 * z).float()[None]


def twin(entries: Entries, route, target, warp) -> list[torch.Tensor]:
    ends = warp.clip_hu or UNCLIPPED
    given = [(image, [warp.outside_hu or -1024.0] * len(image), ends) for image in entries.images.values()]
    given += [(labels, [1.0] + [0.0] * (len(labels) - 1), UNCLIPPED) for labels in entries.labels.values()]
    return by_torch(given, route, target, warp.interpolation == "linear_argmax")


@every_warp
@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "back"])
def test_loops_equal_torch_operations(warp, backwards):
    if backwards:
        entries = make_entries(warp.target(SHAPE))
        moved = unwarp_entries(entries, warp, SHAPE)
        image, labels, soft = twin(entries, backward_route(warp, SHAPE), SHAPE, warp)
    else:
        entries = make_entries()
        moved = warp_entries(entries, warp)
        image, labels, soft = twin(entries, forward_route(warp, SHAPE), warp.target(SHAPE), warp)
    torch.testing.assert_close(moved.images["image"], image, atol=0.05, rtol=0)
    torch.testing.assert_close(moved.labels["soft"], soft, atol=1e-4, rtol=0)
    assert (moved.labels["labels"] != labels).float().mean() < 1e-3  # a place halfway between voxels may go either way


@every_warp
def test_image_and_labels_alone_equal_the_fused_pass_bit_by_bit(warp):
    entries = make_entries()
    moved = warp_entries(entries, warp)
    assert torch.equal(warp_image(entries.images["image"], warp), moved.images["image"])
    for key, labels in entries.labels.items():
        assert torch.equal(warp_labels(labels, warp), moved.labels[key])


@every_warp
def test_every_channel_moves_as_it_would_alone(warp):
    image = make_entries(channels=3).images["image"]
    together = warp_image(image, warp)
    assert torch.equal(together, torch.cat([warp_image(channel[None], warp) for channel in image]))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("warp", [WARPS["both"], WARPS["argmax"]], ids=["nearest", "argmax"])
def test_labels_of_every_integer_type_keep_type_and_values(dtype, warp):
    labels = (make_entries().labels["labels"] > 0).to(dtype)
    moved = warp_labels(labels, warp)
    by_torch_operations = twin(Entries({}, {"labels": labels}, SPACING_MM), forward_route(warp, SHAPE), SHAPE, warp)[0]
    assert moved.dtype == by_torch_operations.dtype == dtype
    assert torch.equal(moved.long(), warp_labels(labels.long(), warp))
    assert (moved != by_torch_operations).float().mean() < 1e-3


@every_warp
def test_result_does_not_depend_on_the_number_of_threads(warp):
    before, results, entries = torch.get_num_threads(), [], make_entries()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(warp_entries(entries, warp))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0].images["image"], results[1].images["image"])
    assert all(torch.equal(results[0].labels[key], results[1].labels[key]) for key in ("labels", "soft"))


@pytest.mark.parametrize("layout", [lambda t: t.transpose(1, 3).contiguous().transpose(1, 3), lambda t: t[:, ::1]])
def test_layout_in_memory_does_not_matter(layout):
    entries = make_entries()
    other = entries.mapped(layout, layout)
    moved, again = warp_entries(entries, WARPS["both"]), warp_entries(other, WARPS["both"])
    assert torch.equal(moved.images["image"], again.images["image"])
    assert torch.equal(moved.labels["labels"], again.labels["labels"])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 8), (9, 1, 8), (9, 8, 1), (2, 2, 2)])
@pytest.mark.parametrize("warp", [WARPS["both"], WARPS["argmax"], WARPS["repeat"]], ids=["nearest", "argmax", "repeat"])
def test_any_shape_from_one_voxel_up_goes_there_and_back(shape, warp):
    entries = make_entries(shape)
    back = unwarp_entries(warp_entries(entries, warp), warp, shape)
    assert back.shape == shape and torch.isfinite(back.images["image"]).all()
    torch.testing.assert_close(back.labels["soft"].sum(0), torch.ones(shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize("interpolation", ["nearest", "linear_argmax"])
@pytest.mark.parametrize("elastic", [None, ElasticParams(12.0, 0.0, seed=3)])
def test_identity_gives_equal_tensors_that_share_no_memory(interpolation, elastic):
    entries = make_entries()
    moved = warp_entries(entries, Warp(SPACING_MM, AffineParams(), elastic, interpolation=interpolation))
    assert torch.equal(moved.images["image"], entries.images["image"])
    assert torch.equal(moved.labels["labels"], entries.labels["labels"])
    moved.images["image"].zero_()
    assert torch.equal(entries.images["image"], make_entries().images["image"])


def test_a_crop_alone_is_a_slice_bit_by_bit():
    entries = make_entries()
    moved = warp_entries(entries, Warp(SPACING_MM, patch_shape=(10, 11, 12), patch_start=(3, 0, 2)))
    for key, tensor in [*entries.images.items(), *entries.labels.items()]:
        assert torch.equal({**moved.images, **moved.labels}[key], tensor[:, 3:13, 0:11, 2:14])


def test_a_crop_turned_in_one_pass_equals_the_crop_of_the_whole_moved_alike():
    crop = Warp(SPACING_MM, patch_shape=(12, 10, 8), patch_start=(10, 4, 3))
    fused = crop.joined(Warp(SPACING_MM, TURN))
    image = smooth_image(SHAPE)
    about = voxel_map(fused, SHAPE)
    expected = map_coordinates(image[0].numpy(), _grid(about, (12, 10, 8)), order=1, mode="nearest")
    inside = warp_labels(torch.ones(1, *SHAPE, dtype=torch.int16), fused)[0] == 1
    torch.testing.assert_close(
        warp_image(image, fused)[0][inside], torch.from_numpy(expected)[inside], atol=1e-3, rtol=0
    )
    np.testing.assert_allclose((about @ [5.5, 4.5, 3.5, 1])[:3], _moved_centre(fused), atol=1e-9)


def _grid(matrix, shape) -> np.ndarray:
    points = np.indices(shape).reshape(3, -1)
    return (matrix[:3, :3] @ points + matrix[:3, 3:]).reshape(3, *shape)


def _moved_centre(warp) -> np.ndarray:
    """The source voxel of the patch's centre: the centre less the shift, turned back."""
    shift_mm = np.linalg.solve(warp.affine.matrix, np.array(warp.affine.translation_mm))
    return np.array(warp.patch_start) + (np.array(warp.patch_shape) - 1) / 2 - shift_mm / warp.spacing_mm


@pytest.mark.parametrize("warp", [WARPS["affine"], WARPS["elastic"], WARPS["both"]], ids=["affine", "elastic", "both"])
def test_image_equals_scipy_at_the_same_places(warp):
    image = make_entries(channels=1).images["image"]
    places = torch.stack(source_places(forward_route(warp, SHAPE), SHAPE, torch.device("cpu"))).numpy()
    expected = map_coordinates(image[0].numpy(), places, order=1, mode="nearest")
    moved = warp_image(image, warp)[0].numpy()
    inside = moved != -1024
    assert inside.mean() > 0.5
    np.testing.assert_allclose(moved[inside], expected[inside], atol=0.05)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), SPACING_MM])
def test_image_equals_monais_affine_with_the_same_matrix(spacing_mm):
    warp, image = Warp(spacing_mm, TURN, outside_hu=0.0), smooth_image(SHAPE)
    centre = np.eye(4)
    centre[:3, 3] = [(n - 1) / 2 for n in SHAPE]
    about = np.linalg.inv(centre) @ voxel_map(warp, SHAPE) @ centre
    monai = MonaiAffine(affine=about, mode="bilinear", padding_mode="border", image_only=True)
    theirs = torch.as_tensor(monai(image)).float()
    inside = warp_labels(torch.ones(1, *SHAPE, dtype=torch.uint8), warp) == 1
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(warp_image(image, warp)[inside], theirs[inside], atol=0.05, rtol=0)


def test_linear_argmax_takes_the_class_with_the_largest_interpolated_share():
    hard = make_entries(raters=1).labels["labels"].clamp(min=0)
    soft = torch.nn.functional.one_hot(hard[0].long(), 4).movedim(-1, 0).float()
    warp = WARPS["argmax"]
    shares, taken = warp_labels(soft, warp), warp_labels(hard, warp)[0]
    best = shares.amax(0)
    assert ((best - shares.gather(0, taken[None].long())[0]).abs() < 1e-5).all()


def test_linear_argmax_smooths_what_nearest_leaves_as_steps():
    axes = np.meshgrid(*(np.arange(32) - 15.5,) * 3, indexing="ij")
    ball = torch.from_numpy((np.sqrt(sum(a**2 for a in axes)) < 9).astype(np.int16))[None]
    wanted = torch.from_numpy((np.sqrt(sum(a**2 for a in axes)) < 13.5).astype(np.int16))[None]
    grown = AffineParams(scale=(1.5, 1.5, 1.5))
    wrong = [
        int((warp_labels(ball, Warp((1.0, 1.0, 1.0), grown, interpolation=kind)) != wanted).sum())
        for kind in ("nearest", "linear_argmax")
    ]
    assert wrong[1] < wrong[0]


def test_ignored_voxels_stay_ignored_with_either_interpolation():
    labels = torch.full((1, *SHAPE), -1, dtype=torch.int16)
    for kind in ("nearest", "linear_argmax"):
        moved = warp_labels(labels, Warp(SPACING_MM, TURN, outside_hu=None, interpolation=kind))
        assert (moved == -1).all()


def test_repeating_fills_with_the_outermost_voxels():
    warp = Warp((1.0, 1.0, 1.0), AffineParams(translation_mm=(5.0, 0.0, 0.0)), outside_hu=None)
    image = torch.arange(8.0)[None, :, None, None].expand(1, 8, 4, 4)
    assert warp_image(image, warp)[0, :, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 2]
    assert warp_labels(image.short(), warp)[0, :, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 2]


@pytest.mark.parametrize("name", ["affine", "elastic", "both"])
def test_there_and_back_lies_within_a_twentieth_of_a_voxel(name):
    shape = (40, 36, 20)
    grid = torch.from_numpy(np.indices(shape)).float()  # an image of its own coordinates tells where a voxel came from
    entries = Entries({"image": grid}, {"labels": torch.ones(1, *shape, dtype=torch.uint8)}, SPACING_MM)
    back = unwarp_entries(warp_entries(entries, WARPS[name]), WARPS[name], shape)
    known = _eroded(back.labels["labels"][0].bool())
    assert known.float().mean() > 0.2
    offset = (back.images["image"] - grid).abs().amax(0)[known]
    assert offset.max() < 0.05


def _eroded(inside: torch.Tensor) -> torch.Tensor:
    """Voxels all of whose neighbours up to 3 away were seen, so that no repeated border voxel is interpolated."""
    outside = torch.nn.functional.pad((~inside).float(), (3,) * 6, value=1.0)
    return torch.nn.functional.max_pool3d(outside[None, None], 7, stride=1)[0, 0] == 0


@pytest.mark.parametrize("seed", range(2))
def test_forward_places_read_at_the_inverse_ones_are_the_voxels_themselves(seed):
    warp, cpu = Warp(SPACING_MM, TURN, ElasticParams(12.0, 12.0 * FOLD_FREE, seed)), torch.device("cpu")
    back = torch.stack(source_places(backward_route(warp, SHAPE), SHAPE, cpu)).double().numpy()
    forward = torch.stack(source_places(forward_route(warp, SHAPE), SHAPE, cpu)).double().numpy()
    inside = np.all([(p >= 2) & (p <= n - 3) for p, n in zip(back, SHAPE, strict=True)], axis=0)  # SciPy's border
    again = np.stack([map_coordinates(part, back, order=3, mode="nearest") for part in forward])
    assert inside.sum() > 500
    np.testing.assert_allclose(again[:, inside], np.indices(SHAPE)[:, inside], atol=0.02)


def test_a_crop_undone_lies_in_its_place_amid_air():
    entries, crop = make_entries(), Warp(SPACING_MM, patch_shape=(10, 11, 12), patch_start=(3, 0, 2))
    back = unwarp_entries(warp_entries(entries, crop), crop, SHAPE)
    expected = torch.full_like(entries.images["image"], -1024.0)
    expected[:, 3:13, 0:11, 2:14] = entries.images["image"][:, 3:13, 0:11, 2:14]
    assert torch.equal(back.images["image"], expected)
    assert not back.labels["labels"][:, 13:].any()


@every_warp
def test_on_another_device_no_value_is_ever_read_back(warp, monkeypatch):
    """Tensors on the meta device hold no values: whoever asks for one, and so would wait for a GPU, gets an error."""
    monkeypatch.setattr(warp_torch, "STEPS", 1)  # all steps are alike, and the meta device is slow
    entries = make_entries().mapped(lambda t: t.to("meta"), lambda t: t.to("meta"))
    moved = warp_entries(entries, warp)
    assert moved.shape == warp.target(SHAPE) and moved.images["image"].device.type == "meta"
    assert moved.labels["labels"].dtype == torch.int16
    assert unwarp_entries(moved, warp, SHAPE).shape == SHAPE


@pytest.mark.parametrize(("shift", "nearest"), [(0.4999999, 5), (0.5000001, 0)])
def test_of_two_equal_shares_the_nearest_voxel_has_its_way(shift, nearest):
    labels = torch.zeros(1, 4, 4, 1, dtype=torch.int16)
    labels[0, 0, 0], labels[0, 1, 1] = 5, 5  # at (1/4, 1/2) both classes hold 3/8 + 1/8
    warp = Warp((1.0, 1.0, 1.0), AffineParams(translation_mm=(-0.25, -shift, 0.0)), interpolation="linear_argmax")
    shares = warp_labels(torch.stack([labels[0] == 0, labels[0] == 5]).float(), warp)[:, 0, 0, 0]
    assert shares.tolist() == pytest.approx([0.5, 0.5])
    assert warp_labels(labels, warp)[0, 0, 0, 0] == nearest
