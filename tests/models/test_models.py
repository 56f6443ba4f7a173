"""Every architecture of the registry: builds from settings, keeps the grid, learns; and what each refuses."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from monai.networks.nets.swin_unetr import PatchMergingV2
from pydantic import TypeAdapter
from torch import Tensor, nn

from medseg.config import Config, build_config
from medseg.errors import ConfigError
from medseg.models.mednext import MedNeXtConfig
from medseg.models.registry import ModelConfig
from medseg.models.segresnet import SegResNetConfig
from medseg.models.swin_unetr import SwinUNETRConfig
from medseg.models.unet import ResEncConfig, UNetConfig
from medseg.models.unetr import UNETRConfig
from medseg.shapes import IntTriple

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"name": "unet", "channels": [4, 8, 8], "deep_supervision": 1},
    "resenc-m": {"name": "resenc-m", "channels": [4, 8, 8], "blocks": [1, 2, 2], "deep_supervision": 1},
    "resenc-l": {"name": "resenc-l", "channels": [4, 8, 8], "blocks": [1, 2, 2], "deep_supervision": 0},
    "unetr": {"name": "unetr", "hidden": 24, "mlp": 32, "heads": 4, "features": 4},
    "swin-unetr": {"name": "swin-unetr", "features": 12, "depths": [1, 1, 1, 1], "window": 2},
    "mednext": {"name": "mednext", "size": "S", "filters": 4},
    "segresnet": {"name": "segresnet", "filters": 8, "blocks": [1, 1, 1], "deep_supervision": 1},
}
EVERY = [
    name for model in get_args(get_args(ModelConfig)[0]) for name in get_args(model.model_fields["name"].annotation)
]
SMALLEST: dict[str, IntTriple] = {"swin-unetr": (64, 32, 32), "mednext": (32, 16, 16)}  # norms need two deepest voxels


def smallest(name: str) -> IntTriple:
    """Voxels of the smallest patch that this network can learn from."""
    return SMALLEST.get(name, (16, 16, 16))


class Wish(Config):
    """As a recipe holds it."""

    model: ModelConfig


def configure(name: str, **changed: Any) -> Any:
    return TypeAdapter(ModelConfig).validate_python(SMALL[name] | changed)


def build(name: str, classes: int = 3, patch: IntTriple = (16, 16, 16), **changed: Any) -> nn.Module:
    return configure(name, **changed).build(1, classes, patch)


def test_a_small_version_of_every_model_is_tested_here() -> None:
    assert set(EVERY) == set(SMALL)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("times", [(1, 1, 1), (2, 1, 1)])
def test_logits_have_the_shape_of_the_image(name: str, times: IntTriple) -> None:
    x, y, z = (n * factor for n, factor in zip(smallest(name), times, strict=True))
    patch = (x, y, z)
    model = build(name, patch=patch).eval()

    logits = model(torch.zeros(2, 1, *patch))

    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 3, *patch)


@pytest.mark.parametrize("name", EVERY)
def test_a_patch_that_the_network_cannot_halve_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.patch: {name} cannot take a patch of 33 x 64 x 64.*multiples of"):
        build(name, patch=(33, 64, 64))


@pytest.mark.parametrize("name", [name for name in EVERY if name != "unetr"])  # it norms tokens over their features
def test_a_patch_that_leaves_one_voxel_at_the_deepest_level_is_refused(name: str) -> None:
    x, y, z = configure(name).downsampling

    with pytest.raises(ConfigError, match=rf"too small for {name}.*at least {2 * x} x {y} x {z}"):
        build(name, patch=(x, y, z))


@pytest.mark.parametrize("size, millions", [("S", 5.6), ("B", 10.5), ("M", 17.6), ("L", 61.8)])
def test_mednext_has_the_weights_that_its_paper_counts(size: str, millions: float) -> None:
    with torch.device("meta"):
        network = TypeAdapter(ModelConfig).validate_python({"name": "mednext", "size": size}).build(1, 14, (32, 32, 32))

    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_swin_unetr_merges_all_eight_neighbours() -> None:
    merging = next(module for module in build("swin-unetr", patch=(64, 32, 32)).modules()
                   if isinstance(module, PatchMergingV2))  # fmt: skip
    tokens = torch.randn(1, 2, 2, 2, 12, requires_grad=True)

    merging(tokens).square().sum().backward()

    assert tokens.grad is not None
    assert (tokens.grad.abs().sum(-1) > 0).all()


def test_checkpoints_with_the_unused_norms_of_unetr_can_still_be_read() -> None:
    state = build("unetr").state_dict()
    assert not [key for key in state if "cross" in key]

    fresh = build("unetr")
    fresh.load_state_dict(state | {"vit.blocks.0.norm_cross_attn.weight": torch.zeros(24)})

    assert all(torch.equal(tensor, state[key]) for key, tensor in fresh.state_dict().items())


def test_segresnet_keeps_thick_slices_until_the_plane_is_as_coarse() -> None:
    config = configure("segresnet", spacing_mm=[1, 1, 4], blocks=[1, 1, 1, 1], deep_supervision=1)
    assert config.downsampling == (8, 8, 2)

    outputs = config.build(1, 3, (16, 16, 4)).train()(torch.zeros(1, 1, 16, 16, 4))

    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 16, 4), (8, 8, 4)]


@pytest.mark.parametrize("name", EVERY)
def test_no_weight_is_stored_twice(name: str) -> None:
    state = build(name, patch=smallest(name)).state_dict()

    places = [tensor.untyped_storage().data_ptr() for tensor in state.values()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_is_learned(name: str) -> None:
    model = build(name, patch=smallest(name)).train()

    output = model(torch.randn(2, 1, *smallest(name)))
    torch.stack([each.square().mean() for each in (output if isinstance(output, list) else [output])]).sum().backward()

    idle = [key for key, weight in model.named_parameters() if weight.grad is None]
    assert idle == []


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build(name, patch=smallest(name)).state_dict())

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("count", [1, 2])
def test_deep_supervision_gives_coarser_outputs_in_training_only(count: int) -> None:
    model = build("unet", channels=[4, 8, 8, 8], deep_supervision=count)
    image = torch.zeros(1, 1, 16, 16, 16)

    trained, judged = model.train()(image), model.eval()(image)

    assert [tuple(output.shape[2:]) for output in trained] == [(16,) * 3, (8,) * 3, (4,) * 3][: count + 1]
    assert isinstance(judged, Tensor)


def test_without_deep_supervision_there_is_one_output_in_training_too() -> None:
    assert isinstance(build("unet", deep_supervision=0).train()(torch.zeros(1, 1, 16, 16, 16)), Tensor)


@pytest.mark.parametrize("name", ["resenc-m", "mednext", "segresnet"])
def test_every_coarser_output_is_a_whole_fraction_of_the_patch(name: str) -> None:
    patch = smallest(name)
    outputs = build(name, patch=patch).train()(torch.zeros(1, 1, *patch))

    sizes = [tuple(output.shape[2:]) for output in outputs]
    assert sizes == [tuple(n // 2**level for n in patch) for level in range(len(outputs))]
    assert len(outputs) == {"resenc-m": 2, "mednext": 5, "segresnet": 2}[name]


def test_kernels_may_be_flat_while_slices_are_thick() -> None:
    model = build("resenc-m", kernels=[[3, 3, 1], [3, 3, 3], [3, 3, 3]], strides=[[2, 2, 1], [2, 2, 2]]).eval()

    assert model(torch.zeros(1, 1, 16, 16, 4)).shape == (1, 3, 16, 16, 4)


def test_residual_blocks_begin_as_their_identity_path() -> None:
    model = build("resenc-m")
    block: Any = model.encoder[1][1]  # type: ignore[index]
    features = torch.rand(1, 8, 4, 4, 4)  # positive, so that the last activation changes nothing

    assert torch.equal(block(features), features)


def test_anisotropic_strides_keep_thick_slices_longer() -> None:
    model = build("unet", strides=[[2, 2, 1], [2, 2, 2]]).train()

    outputs = model(torch.zeros(1, 1, 16, 16, 6))

    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 16, 6), (8, 8, 6)]


def test_a_coarse_stem_still_gives_logits_on_the_full_grid() -> None:
    model = build("unet", stem_stride=[2, 2, 1], classes=5).train()

    outputs = model(torch.zeros(1, 1, 16, 16, 8))

    assert [tuple(output.shape[1:]) for output in outputs] == [(5, 16, 16, 8), (5, 4, 4, 4)]


@pytest.mark.parametrize(
    "config, expected",
    [
        (UNetConfig(channels=(4, 8, 8), deep_supervision=1), (4, 4, 4)),
        (UNetConfig(channels=(4, 8, 8), strides=((2, 2, 1), (2, 2, 2)), deep_supervision=1), (4, 4, 2)),
        (UNetConfig(channels=(4, 8, 8), stem_stride=(2, 2, 1), deep_supervision=1), (8, 8, 4)),
        (UNETRConfig(), (16, 16, 16)),
        (ResEncConfig(), (32, 32, 32)),
        (SwinUNETRConfig(), (32, 32, 32)),
        (MedNeXtConfig(), (16, 16, 16)),
        (SegResNetConfig(), (16, 16, 16)),
    ],
)
def test_patches_are_multiples_of_the_downsampling(config: ModelConfig, expected: IntTriple) -> None:
    assert config.downsampling == expected


@pytest.mark.parametrize(
    "wish, expected",
    [
        ({"name": "unet"}, {"deep_supervision": 2}),
        ({"name": "unet", "channels": [4, 8, 8]}, {"deep_supervision": 1}),
        ({"name": "unet", "channels": [4, 8, 8, 8, 8, 8]}, {"deep_supervision": 2}),
        ({"name": "unet", "channels": [4, 8, 8], "deep_supervision": 0}, {"deep_supervision": 0}),
        ({"name": "resenc-m", "channels": [4, 8, 8]}, {"deep_supervision": 1, "blocks": (1, 3, 4)}),
        ({"name": "resenc-l", "channels": [4] * 8}, {"deep_supervision": 3, "blocks": (1, 3, 4, 6, 6, 6, 6, 6)}),
        ({"name": "resenc-m", "channels": [4] * 6}, {"deep_supervision": 3, "blocks": (1, 3, 4, 6, 6, 6)}),
        ({"name": "segresnet", "blocks": [1, 1, 1]}, {"deep_supervision": 1}),
        ({"name": "segresnet", "blocks": [1] * 6}, {"deep_supervision": 3}),
        ({"name": "unetr", "hidden": 64}, {"heads": 8}),
        ({"name": "unetr", "hidden": 384}, {"heads": 12}),
    ],
)
def test_defaults_fit_the_one_size_that_a_recipe_names(wish: dict[str, Any], expected: dict[str, Any]) -> None:
    model = build_config(Wish, {"model": wish}).model

    assert {key: getattr(model, key) for key in expected} == expected
    assert build_config(Wish, {"model": model.model_dump(mode="json")}).model == model


def test_dropout_changes_training_and_not_prediction() -> None:
    model, image = build("unetr", dropout=0.3), torch.randn(1, 1, 16, 16, 16)

    assert not torch.equal(model.train()(image), model(image))
    assert torch.equal(model.eval()(image), model(image))


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"name": "unnet"}, r"unet.*unetr"),
        ({"name": "unet", "chanels": [4, 8, 8]}, r"chanels.*channels"),
        ({"name": "unet", "channels": [4, 8]}, r"model\.channels"),
        ({"name": "unet", "channels": [4, 8, 8], "deep_supervision": 2}, r"deep_supervision of at most 1"),
        ({"name": "unet", "channels": [4, 8, 8], "deep_supervision": 0, "strides": [[2, 2, 2]]}, r"2 strides"),
        ({"name": "unet", "channels": [4, 8, 8], "deep_supervision": 0, "kernels": [[3, 3, 1]]}, r"3 kernels"),
        ({"name": "unet", "channels": [4, 8, 8], "deep_supervision": 0, "kernels": [[2, 3, 3]] * 3}, r"kernels"),
        ({"name": "resenc-m", "channels": [4, 8, 8], "blocks": [1, 2]}, r"3 numbers of blocks"),
        ({"name": "resenc-xl"}, r"resenc-l.*resenc-m"),
        ({"name": "swin-unetr", "features": 20}, r"features \(20\) to be a multiple of 12"),
        ({"name": "swin-unetr", "heads": [5, 6, 12, 24]}, r"heads that divide"),
        ({"name": "mednext", "size": "XL"}, r"size"),
        ({"name": "segresnet", "blocks": [1, 1], "deep_supervision": 1}, r"deep_supervision of at most 0"),
        ({"name": "segresnet", "spacing_mm": [1, 1, 0]}, r"spacings above 0"),
        ({"name": "unetr", "hidden": 25, "heads": 4}, r"hidden \(25\) to be a multiple of heads \(4\)"),
        ({"name": "unetr", "dropout": 1.0}, r"dropout"),
        ({"name": "unetr", "channels": [4]}, r"channels"),
        ({"name": "unet", "channels": [4, 0, 8], "deep_supervision": 0}, r"model\.channels"),
        ({"name": "unet", "channels": [4, 8, 8], "deep_supervision": 0, "stem_stride": [0, 1, 1]}, r"stem_stride"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        build_config(Wish, {"model": settings})
