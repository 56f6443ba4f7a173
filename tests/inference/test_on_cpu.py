"""The network as the CPU computes it fastest says what the network says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg.inference.on_cpu import Convolution, NormInPlace, on_cpu
from medseg.models.unet import ResEncConfig, UNet, UNetConfig

SMALL = UNetConfig(channels=(8, 16, 16), deep_supervision=1)


def network(config: UNetConfig | ResEncConfig = SMALL) -> UNet:
    torch.manual_seed(0)
    model = config.build(1, 3, (16, 16, 16))
    for own in model.parameters():
        nn.init.normal_(own, std=0.3)
    return model.eval()


def tiles(count: int = 1, size: tuple[int, int, int] = (16, 16, 16)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(3, 2, (count, 1, *size)).astype(np.float32))


def exact(model: nn.Module, image: Tensor) -> Tensor:
    """In float64."""
    with torch.inference_mode():
        found = model.double()(image.double()).float()
    model.float()
    return found


def found_by(model: nn.Module, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return on_cpu(model)(image)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        UNetConfig(channels=(8, 16, 16), kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)), deep_supervision=0),
        UNetConfig(channels=(8, 16, 16), stem_stride=(2, 2, 2), deep_supervision=0),
        ResEncConfig(channels=(8, 16, 16), blocks=(1, 2, 2), deep_supervision=0),
    ],
    ids=["plain", "flat kernels", "strided stem", "residual"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_logits_are_those_of_the_network(config: UNetConfig | ResEncConfig, count: int) -> None:
    model, image = network(config), tiles(count)

    found = found_by(model, image)

    assert torch.allclose(found, exact(model, image), atol=1e-4)


def test_weights_are_shared() -> None:
    model = network()
    places = {own.data_ptr() for own in model.parameters()}

    assert {own.data_ptr() for own in on_cpu(model).parameters()} == places


def test_weights_that_change_later_count() -> None:
    model, image = network(), tiles()
    faster = on_cpu(model)
    with torch.no_grad():
        for own in model.parameters():
            own.mul_(1.5)

    with torch.inference_mode():
        assert torch.allclose(faster(image), exact(model, image), atol=1e-4)


def test_the_network_itself_stays_as_it_is() -> None:
    model = network()
    before = [type(part) for part in model.modules()]

    on_cpu(model)

    assert [type(part) for part in model.modules()] == before


def test_every_norm_of_a_u_net_is_done_in_place_and_every_convolution_by_the_library() -> None:
    parts = list(on_cpu(network()).modules())

    assert not any(type(part) in (nn.InstanceNorm3d, nn.Conv3d) for part in parts)
    assert sum(isinstance(part, NormInPlace) for part in parts) == 10  # two for each of three levels down, two up


def test_a_norm_without_a_convolution_before_it_is_left_alone() -> None:
    class Both(nn.Module):
        """Reads what the norm reads."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.Sequential(nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU(0.1))
            self.out = nn.Conv3d(4, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            wide = image.expand(-1, 4, -1, -1, -1).clone()
            return self.out(self.norm(wide) + wide)

    model, image = Both().eval(), tiles()

    assert torch.allclose(found_by(model, image), exact(model, image), atol=1e-5)


def test_other_networks_have_their_convolutions_by_the_library() -> None:
    model = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv3d(8, 2, 3, padding=1))

    found = found_by(model.eval(), tiles())

    assert [type(part) for part in on_cpu(model).children()] == [Convolution, nn.GroupNorm, nn.ReLU, Convolution]
    assert torch.allclose(found, exact(model, tiles()), atol=1e-5)


def test_a_convolution_that_reflects_the_edge_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm3d(2)).eval()

    assert torch.allclose(found_by(model, tiles()), exact(model, tiles()), atol=1e-5)


def test_values_far_from_zero_keep_their_deviation() -> None:
    norm = NormInPlace(nn.InstanceNorm3d(1, eps=1e-5), 1.0)
    deviation = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 1, 32, 32, 32)).astype(np.float32))

    found = norm(1e4 + deviation)

    assert float(found.mean()) == pytest.approx(0, abs=1e-3)
    assert float(found.std()) == pytest.approx(1, abs=1e-3)


def test_results_are_the_same_for_any_number_of_threads() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 16, 48, 48, 48)).astype(np.float32))
    norm, before = NormInPlace(nn.InstanceNorm3d(16), 0.01), torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(norm(values.clone()))
    torch.set_num_threads(before)

    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
