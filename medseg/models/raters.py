"""Networks that know which expert they speak for: `heads`, `conditioned` and `crowd` around any network.

All three are called with an image and the number of the rater of each sample, and give the logits of that rater, so
every loss serves them. Without raters they give the consensus. What deep supervision adds is handled alike.

| mode | what differs between raters | consensus |
|---|---|---|
| `heads` | the last layer, one for each rater | mean of the raters' probabilities |
| `conditioned` | scale and shift after every normalisation | mean of the scales and shifts |
| `crowd` | a confusion matrix after the network | the network itself |

Sources: conditional instance normalisation: Dumoulin et al., A Learned Representation for Artistic Style, ICLR 2017;
confusion matrices with a trace penalty: Tanno et al., Learning from Noisy Labels by Regularized Estimation of Annotator
Confusion, CVPR 2019 (one matrix for each rater; Zhang et al., NeurIPS 2020, have one for each voxel).

Every parameter takes part in every step, whichever raters are in the batch, as distributed training asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.models.contentless import contentless

RaterNetworkMode = Literal["heads", "conditioned", "crowd"]
RATER_NETWORKS = get_args(RaterNetworkMode)
TRACE_WEIGHT = 0.01  # Tanno et al. 2019
DIAGONAL = 0.999  # of a confusion matrix before the first step; what is left stays below the share of small structures
Output = Tensor | list[Tensor]


class RaterNetwork(nn.Module):
    """What the three have in common; the wrapped network is `network`.

    Args:
        raters: how many.
    """

    def __init__(self, network: nn.Module, raters: int) -> None:
        super().__init__()
        self.network, self.raters = network, raters

    def forward(self, image: Tensor, rater: Tensor | None = None) -> Output:
        """Logits (B, C, X, Y, Z) of each sample's rater, or of the consensus; a list with deep supervision.

        Args:
            image: (B, 1, X, Y, Z).
            rater: (B,) numbers of the raters, or None for the consensus.
        """
        raise NotImplementedError

    def penalty(self) -> Tensor:
        """What is added to the loss; a scalar, 0 where the mode needs none."""
        return torch.zeros((), device=next(self.parameters()).device)

    def opinions(self, image: Tensor) -> Tensor:
        """Logits (B, 1 + R, C, X, Y, Z): the consensus, then each rater; with deep supervision of the finest output."""
        said = [self.as_rater(rater)(image) for rater in (None, *range(self.raters))]
        return torch.stack([_only(output) for output in said], dim=1)

    def as_rater(self, rater: int | None) -> AsRater:
        """The network that predicts like one rater, or like the consensus; it shares the weights."""
        return AsRater(self, rater)


class AsRater(nn.Module):
    """A rater network as a plain one, image to logits."""

    def __init__(self, network: RaterNetwork, rater: int | None) -> None:
        super().__init__()
        self.network, self.rater = network, rater

    @property
    def raters(self) -> int:
        """How many speak in `opinions`; none where this speaks for one of them."""
        return self.network.raters if self.rater is None else 0

    def opinions(self, image: Tensor) -> Tensor:
        """Of the consensus and of each rater, see `RaterNetwork.opinions`."""
        return self.network.opinions(image)

    def forward(self, image: Tensor) -> Output:
        if self.rater is None:
            return self.network(image)
        return self.network(image, torch.full((len(image),), self.rater, device=image.device))


def build_rater_network(
    mode: RaterNetworkMode, build: Callable[[int], nn.Module], classes: int, raters: int
) -> RaterNetwork:
    """The rater network of a mode.

    Args:
        build: gives the network to wrap for a number of output channels.
        classes, raters: how many.

    Raises:
        ConfigError: `conditioned` and a network without instance or group normalisation.
    """
    if mode == "heads":
        network = build(raters * classes)
        _begin_alike(network, build, classes, raters)
        return Heads(network, classes, raters)
    return (Conditioned if mode == "conditioned" else Crowd)(build(classes), classes, raters)


@torch.no_grad()
def _begin_alike(network: nn.Module, build: Callable[[int], nn.Module], classes: int, raters: int) -> None:
    """Gives every head the weights of the first: of all tensors whose length changes with the number of classes."""
    with contentless():
        single = build(classes).state_dict()
    for name, tensor in network.state_dict().items():
        axes = [axis for axis, n in enumerate(tensor.shape) if n != single[name].shape[axis]]
        if axes and not tensor.is_meta:
            first = tensor.narrow(axes[0], 0, classes)
            tensor.copy_(torch.cat([first] * raters, dim=axes[0]))


class Heads(RaterNetwork):
    """One body with a head for each rater.

    All heads begin alike. In training a patch moves them all by the same step, and that of its rater by as much again:
    what a layer that all raters share and a deviation of each would do, of whose sum a head consists. So what the
    raters agree on is learned from all patches, and not by each head from its share of them.

    Args:
        network: with `raters` times `classes` outputs: its last layer is the heads, that of every resolution with deep
            supervision.
    """

    def __init__(self, network: nn.Module, classes: int, raters: int) -> None:
        super().__init__(network, raters)
        self.classes = classes

    def forward(self, image: Tensor, rater: Tensor | None = None) -> Output:
        return each(self.network(image), lambda logits: self._of(logits.unflatten(1, (self.raters, -1)), rater))

    def opinions(self, image: Tensor) -> Tensor:
        heads = _only(self.network(image)).unflatten(1, (self.raters, -1))
        return torch.cat([self._of(heads, None)[:, None], heads], dim=1)

    def _of(self, heads: Tensor, rater: Tensor | None) -> Tensor:
        """Logits (B, C, X, Y, Z) out of those of all heads (B, R, C, X, Y, Z)."""
        if rater is not None:
            own = heads[torch.arange(len(heads), device=heads.device), rater]
            if not self.training:
                return own
            shared = heads.sum(1)
            return own + (shared - shared.detach())  # adds nothing but the way back to the others
        return heads.float().log_softmax(2).logsumexp(1)  # the sum instead of the mean is the same to a softmax


class Conditioned(RaterNetwork):
    """One network whose normalisations are scaled and shifted for each rater, by nothing before the first step.

    Works for every network with instance or group normalisation in three dimensions.
    """

    def __init__(self, network: nn.Module, classes: int, raters: int) -> None:
        super().__init__(network, raters)
        self.chosen = Chosen()
        found = [(name, module) for name, module in network.named_modules() if isinstance(module, NORMS)]
        if not found:
            raise ConfigError("this network has no normalisation that could be conditioned on a rater", where="raters",
                              got="conditioned", do="Use heads or crowd, or another network.")  # fmt: skip
        for name, module in found:
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, _conditional(module, raters, self.chosen))

    def forward(self, image: Tensor, rater: Tensor | None = None) -> Output:
        self.chosen.rater = rater
        return self.network(image)


class Chosen:
    """The raters (B,) of the batch under way, which a network hands to no layer; None for their mean."""

    rater: Tensor | None = None


class RaterTable(nn.Module):
    """A scale and a shift for each rater and channel, all zeros before the first step."""

    def __init__(self, raters: int, channels: int, chosen: Chosen) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.zeros(raters, channels)) for _ in range(2))
        self.chosen = chosen

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, X, Y, Z) times 1 + scale, plus shift, of each sample's rater or of the mean."""
        rater = self.chosen.rater
        scale, shift = (t.mean(0, keepdim=True) if rater is None else t[rater] for t in (self.scale, self.shift))
        scale, shift = (t[:, :, None, None, None].to(features.dtype) for t in (scale, shift))
        return features * (1 + scale) + shift


class ConditionalInstanceNorm(nn.InstanceNorm3d):
    """Instance normalisation and what each rater makes of it; its own parameters keep their names."""

    of_raters: RaterTable

    def forward(self, input: Tensor) -> Tensor:
        return self.of_raters(super().forward(input))


class ConditionalGroupNorm(nn.GroupNorm):
    """The same for group normalisation."""

    of_raters: RaterTable

    def forward(self, input: Tensor) -> Tensor:
        return self.of_raters(super().forward(input))


NORMS = (nn.InstanceNorm3d, nn.GroupNorm)


def _conditional(norm: nn.Module, raters: int, chosen: Chosen) -> nn.Module:
    """The conditional twin of a normalisation, with its own weights."""
    if isinstance(norm, nn.InstanceNorm3d):
        channels, kept = norm.num_features, norm.momentum
        twin = ConditionalInstanceNorm(channels, norm.eps, kept, norm.affine, norm.track_running_stats)  # type: ignore[arg-type]
    else:
        assert isinstance(norm, nn.GroupNorm)
        channels = norm.num_channels
        twin = ConditionalGroupNorm(norm.num_groups, channels, norm.eps, norm.affine)
    twin.load_state_dict(norm.state_dict())
    twin.of_raters = RaterTable(raters, channels, chosen)
    return twin


class Crowd(RaterNetwork):
    """A network of what is there, and for each rater a confusion matrix of what they make of it.

    The matrices and the network explain the same labels; the trace penalty picks, of all pairs that explain them
    equally well, the one with the least trusted raters, whose network is the cleaner one. A matrix is the same for all
    voxels: it can say that a rater calls one structure by another's name, overlooks it or draws it at less certainty,
    not where.
    """

    def __init__(self, network: nn.Module, classes: int, raters: int) -> None:
        super().__init__(network, raters)
        odds = torch.tensor(DIAGONAL * (classes - 1) / (1 - DIAGONAL))
        self.confusion_logits = nn.Parameter(odds.log() * torch.eye(classes).repeat(raters, 1, 1))

    @property
    def confusion(self) -> Tensor:
        """(R, C, C): the chance that a rater says column where row is there; rows sum to 1."""
        return self.confusion_logits.float().softmax(2)

    def forward(self, image: Tensor, rater: Tensor | None = None) -> Output:
        output = self.network(image)
        if rater is None:
            return output
        said = self.confusion[rater]
        return each(output, lambda logits: self._as_said(logits, said))

    def opinions(self, image: Tensor) -> Tensor:
        logits = _only(self.network(image))
        said = [self._as_said(logits, own.expand(len(image), -1, -1)) for own in self.confusion]
        return torch.stack([logits, *said], dim=1)

    def penalty(self) -> Tensor:
        """Mean diagonal of the confusion matrices, weighted."""
        return TRACE_WEIGHT * self.confusion.diagonal(dim1=1, dim2=2).mean()

    @staticmethod
    def _as_said(logits: Tensor, said: Tensor) -> Tensor:
        # Not in bfloat16: a probability of 0.996 is its last one below 1.
        with torch.autocast(logits.device.type, enabled=False):
            there = logits.float().softmax(1)
            return torch.einsum("bij,bi...->bj...", said, there).clamp(min=1e-12).log()


def _only(output: Output) -> Tensor:
    """The output of the image's own resolution: all there is but where a network learns at several."""
    return output if isinstance(output, Tensor) else output[0]


def each(output: Tensor | Sequence[Tensor], change: Callable[[Tensor], Tensor]) -> Output:
    """The change of one output, or of each of several."""
    return change(output) if isinstance(output, Tensor) else [change(one) for one in output]
