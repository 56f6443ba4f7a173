"""One step: parts of a batch, what it says of numbers that are not finite, and of memory that is not enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import TrainingError
from medseg.losses.boundary import BoundaryConfig
from medseg.losses.cl_dice import ClDiceConfig
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig, DiceFocalConfig, DiceTopKConfig
from medseg.models.unet import UNetConfig
from medseg.training.loop import Hooks, TrainingConfig, TrainingState, train_steps
from medseg.training.optim import SGDConfig
from medseg.training.state import new_state

Settings = Callable[..., TrainingConfig]
Silent = Callable[..., Hooks]
LOSSES = [
    DiceCEConfig(),
    DiceCEConfig(batch_dice=False),
    DiceTopKConfig(),
    DiceFocalConfig(),
    BoundaryConfig(),
    ClDiceConfig(iterations=1),
]


def batch(seed: int, patches: int = 4) -> dict[str, Any]:
    """Random patches; the second has no foreground, and in the third half of the voxels do not count."""
    image = torch.randn(patches, 1, 8, 8, 8, generator=torch.Generator().manual_seed(seed))
    marked = (image > 0).float()
    marked[1] = 0
    weight = torch.ones_like(image)
    weight[2, :, :4] = 0
    return {"image": image, "target": torch.cat([1 - marked, marked], dim=1), "weight": weight,
            "id": [f"c{n}" for n in range(patches)], "place": [f"voxel {n}, 0, 0" for n in range(patches)]}  # fmt: skip


def state_for(config: TrainingConfig, network: nn.Module | None = None) -> TrainingState:
    torch.manual_seed(0)
    return new_state(network or UNetConfig(channels=(4, 4, 8), deep_supervision=1).build(1, 2, (8, 8, 8)), config)


def config_of(settings: Settings, **more: Any) -> TrainingConfig:
    return settings(**{"steps": 3, "optimizer": SGDConfig(momentum=0.9)} | more).model_copy(update={"batch": 4})


def weights(state: TrainingState) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in state.model.parameters()])


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}-{loss.batch_dice}")
def test_a_batch_in_parts_gives_the_curve_and_the_weights_of_the_whole_batch(
    settings: Settings, silent: Silent, loss: Any, parts: int
) -> None:
    whole, split = config_of(settings), config_of(settings).model_copy(update={"accumulate": parts})
    results = []
    for config in (whole, split):
        state, hooks = state_for(config), silent()
        train_steps(state, [batch(n) for n in range(3)], DeepSupervision(loss.build()), config, hooks)
        results.append((hooks.losses, weights(state)))

    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=1e-6)


class Draws(nn.Module):
    """Dropout before a convolution, and what it let through."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.conv, self.seen = nn.Dropout(0.5), nn.Conv3d(1, 2, 1), []

    def forward(self, image: Tensor) -> Tensor:
        kept = self.drop(image)
        self.seen.append(kept.detach().clone())
        return self.conv(kept)


def test_both_passes_over_a_part_draw_the_same_dropout_and_two_parts_different_ones(
    settings: Settings, silent: Silent
) -> None:
    network, config = Draws(), config_of(settings, steps=1).model_copy(update={"accumulate": 2})
    same = {**batch(0), "image": torch.ones(4, 1, 8, 8, 8)}

    train_steps(state_for(config, network), [same], DiceCEConfig().build(), config, silent())

    first, second, first_again, second_again = network.seen
    assert torch.equal(first, first_again)
    assert torch.equal(second, second_again)
    assert not torch.equal(first, second)


class Told(nn.Module):
    """A network that is told the rater and has a penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bias, self.raters = nn.Conv3d(1, 2, 1), nn.Parameter(torch.ones(2)), []

    def forward(self, image: Tensor, rater: Tensor) -> Tensor:
        self.raters.append(rater.tolist())
        return self.conv(image) + self.bias[rater][:, None, None, None, None]

    def penalty(self) -> Tensor:
        return 3 * self.bias.square().sum()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_network_that_knows_raters_is_told_whose_patches_it_sees_and_its_penalty_counts(
    settings: Settings, silent: Silent, parts: int
) -> None:
    network, hooks = Told(), silent()
    config = config_of(settings, steps=1, optimizer=SGDConfig(momentum=0, weight_decay=0)).model_copy(
        update={"accumulate": parts}
    )
    told = {**batch(0), "rater": torch.tensor([0, 1, 1, 0])}
    with torch.no_grad():
        alone = DiceCEConfig().build()(network(told["image"], told["rater"]), told["target"], told["weight"])

    train_steps(state_for(config, network), [told], DiceCEConfig().build(), config, hooks)

    assert hooks.losses == pytest.approx([float(alone) + 3 * 2], rel=1e-6)
    assert [rater for part in network.raters[-parts:] for rater in part] == [0, 1, 1, 0]
    # The same for all classes of a voxel, the bias leaves the softmax as it is: it moves by its penalty's slope alone.
    assert network.bias.tolist() == pytest.approx([1 - 1e-2 * 6] * 2, rel=1e-4)


def test_classes_that_nobody_looked_for_are_passed_to_the_loss(settings: Settings, silent: Silent) -> None:
    config, hooks, given = config_of(settings, steps=1), silent(), batch(0)
    known = torch.ones(4, 2, dtype=torch.bool)
    known[0, 1] = False
    given["target"][0] = torch.tensor([1.0, 0.0])[:, None, None, None]

    train_steps(state_for(config), [{**given, "known": known}], DeepSupervision(DiceCEConfig().build()), config, hooks)
    without = silent()
    train_steps(state_for(config), [given], DeepSupervision(DiceCEConfig().build()), config, without)

    assert hooks.losses[0] < without.losses[0]  # calling everything background cannot be wrong in the first patch


class Breaks(nn.Module):
    """A network whose second layer breaks on the numbers of one patch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv3d(1, 1, 1, bias=False), nn.Conv3d(1, 2, 1)
        self.root = Root()

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.root(self.stem(image)))


class Root(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.sqrt()


def positive(seed: int) -> dict[str, Any]:
    given = batch(seed)
    return {**given, "image": given["image"].abs() + 1}


def test_a_layer_that_breaks_is_named_with_case_and_patch(settings: Settings, silent: Silent) -> None:
    network, config = Breaks(), config_of(settings, checkpoint_every=1)
    nn.init.ones_(network.stem.weight)
    broken, saved = positive(1), []
    broken["image"][2] = -1

    with pytest.raises(TrainingError, match=r"^step 2, cases c2: the loss is not finite; got .*layer root \(Root\), "
                       r"patch at voxel 2, 0, 0\. Go on .*--resume training\.learning_rate_scale=0\.1"):  # fmt: skip
        train_steps(state_for(config, network), [positive(0), broken], DiceCEConfig().build(), config,
                    silent(save=lambda best: saved.append(best)))  # fmt: skip
    assert len(saved) == 1
    assert torch.isfinite(network.stem.weight).all()


def test_an_image_that_is_not_finite_is_named_as_such(settings: Settings, silent: Silent) -> None:
    config, broken = config_of(settings), batch(0)
    broken["image"][3, 0, 0, 0, 0] = float("inf")

    with pytest.raises(TrainingError, match=r"cases c3: .* not finite in the image, patch at voxel 3, 0, 0"):
        train_steps(state_for(config), [broken], DeepSupervision(DiceCEConfig().build()), config, silent())


def test_a_gradient_that_is_not_finite_is_named_and_the_weights_stay(settings: Settings, silent: Silent) -> None:
    network, config = Breaks(), config_of(settings)
    nn.init.zeros_(network.stem.weight)  # the root of 0 is 0, and its slope infinite

    with pytest.raises(TrainingError, match=r"step 1, cases c0, c1, c2, c3: the gradient is not finite; "
                       r"got the gradient of stem\.weight"):  # fmt: skip
        train_steps(state_for(config, network), [positive(0)], DiceCEConfig().build(), config, silent())
    assert float(network.stem.weight.detach()) == 0


def test_a_weight_that_is_not_finite_is_named_as_the_cause(settings: Settings, silent: Silent) -> None:
    network, config = Breaks(), config_of(settings)
    nn.init.ones_(network.stem.weight)
    nn.init.constant_(network.head.bias, float("nan"))

    with pytest.raises(TrainingError, match=r"layer head \(Conv3d\), whose bias is not finite"):
        train_steps(state_for(config, network), [positive(0)], DiceCEConfig().build(), config, silent())


class Small(nn.Module):
    """A network on a machine that has memory for so many patches."""

    def __init__(self, most: int, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.conv, self.most, self.error = nn.Conv3d(1, 2, 1), most, error

    def forward(self, image: Tensor) -> Tensor:
        if len(image) > self.most:
            raise self.error()
        return self.conv(image)


ALLOCATORS = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9."),
    "host": MemoryError,
}


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize(
    "most, said",
    [(3, r"at most 3 patches at a time, got 4.*saved.*--resume training\.accumulate=2"),
     (1, r"at most 1 patches at a time.*training\.accumulate=4"),
     (0, r"memory for one patch.*smaller plan\.patch")],
)  # fmt: skip
def test_memory_that_is_not_enough_saves_and_says_what_would_fit(
    settings: Settings, silent: Silent, most: int, said: str, allocator: str
) -> None:
    config, saved = config_of(settings), []
    state = state_for(config, Small(most, ALLOCATORS[allocator]))
    before = weights(state)

    with pytest.raises(TrainingError, match=rf"^step 1: out of memory; expected .*{said}"):
        train_steps(state, [batch(0)], DiceCEConfig().build(), config,
                    silent(save=lambda best: saved.append((state.step, best))))  # fmt: skip
    assert saved == [(0, False)]
    assert torch.equal(weights(state), before)


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_memory_that_is_not_enough_for_the_augmentation_on_the_device_saves_and_says_where_else(
    settings: Settings, silent: Silent, allocator: str
) -> None:
    config, saved = config_of(settings), []
    state = state_for(config, Small(4, ALLOCATORS[allocator]))

    def prepare(given: Any) -> Any:
        raise ALLOCATORS[allocator]()

    with pytest.raises(TrainingError, match=r"^step 1: out of memory while .*saved; .*training\.augment_on=loader"):
        train_steps(state, [batch(0)], DiceCEConfig().build(), config,
                    silent(prepare=prepare, save=lambda best: saved.append((state.step, best))))  # fmt: skip
    assert saved == [(0, False)]


def test_an_error_that_is_not_about_memory_stays_what_it_is(settings: Settings, silent: Silent) -> None:
    config = config_of(settings)
    network = Small(0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_steps(state_for(config, network), [batch(0)], DiceCEConfig().build(), config, silent())
