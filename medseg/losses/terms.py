"""What a loss is made of: terms on log-probabilities, weighed and added, and classes that nobody looked for.

A term is called with log-probabilities, target and weight, as in `WeighedTerms.forward`, and gives a scalar. All of
them take hard and soft targets, and none of them synchronises with the host. One with `of_structures` looks at each
channel but the first by itself, the others look at the distribution of each voxel (`RegionTerms` asks for it). Sums
over the batch are pooled over the processes of a training, so that a batch spread over several devices has the loss of
the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medseg.losses.pooling import gathered, pooled

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


class WeighedTerms(nn.Module):
    """A weighted sum of terms; a term of weight 0 is not computed.

    Args:
        terms: (weight, term) pairs.
    """

    def __init__(self, terms: Sequence[tuple[float, Term]]) -> None:
        super().__init__()
        self.terms = [(weight, term) for weight, term in terms if weight]

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor, known: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, C, X, Y, Z), class 0 is the background.
            target: (B, C, X, Y, Z), one-hot or soft, summing to 1 over C where `weight` is 1.
            weight: (B, 1, X, Y, Z), 0 at voxels that must not be learned from, else 1.
            known: (B, C) boolean, False for classes that were not looked for in that sample; None when all were.
        """
        log_probabilities = torch.log_softmax(logits.float(), dim=1)  # bf16 is too coarse for sums over millions
        if known is not None:
            log_probabilities = merge_unknown(log_probabilities, known)
        total = logits.new_zeros((), dtype=torch.float32)
        for share, term in self.terms:
            total = total + share * term(log_probabilities, target, weight)
        return total


def merge_unknown(log_probabilities: Tensor, known: Tensor) -> Tensor:
    """Log-probabilities in which classes that were not looked for count as background.

    A voxel called background by a reader who looked for the liver only may be a kidney. The probability of "background
    as this reader means it" is therefore that of background and all unknown classes together, so an unknown class is
    neither pushed up nor down (the marginal loss of Shi et al., Marginal loss and exclusion loss for partially
    supervised multi-organ segmentation, Medical Image Analysis 70, 2021). Unknown classes themselves become 0: they
    occur in no target, so no term looks at them.

    Args:
        log_probabilities: (B, C, X, Y, Z).
        known: (B, C) boolean; the background counts as known.

    Example:
        >>> p = torch.tensor([0.5, 0.2, 0.3]).log().reshape(1, 3, 1, 1, 1)
        >>> merge_unknown(p, torch.tensor([[True, True, False]])).exp().flatten()
        tensor([0.8000, 0.2000, 0.0000])
    """
    shown = known[:, :, None, None, None]
    nothing = torch.finfo(log_probabilities.dtype).min
    first = torch.zeros_like(shown)
    first[:, 0] = True
    background = torch.logsumexp(log_probabilities.masked_fill(shown & ~first, nothing), dim=1, keepdim=True)
    rest = log_probabilities[:, 1:].masked_fill(~shown[:, 1:], nothing)
    return torch.cat([background, rest], dim=1)


class DiceSemimetric:
    """`1 - 2 tp / (|p| + |q|)` with `tp = (|p| + |q| - |p - q|) / 2`, averaged over the foreground classes.

    On one-hot targets it equals soft Dice; on soft targets it is zero only at p = q, where plain soft Dice would prefer
    a hard mask (Wang et al., Dice Semimetric Losses, MICCAI 2023). Only classes that occur in the target count: one
    that is absent has no overlap to improve, and the voxel-wise term already pushes its false positives down. With no
    foreground at all it is zero.

    Args:
        batch: pools the voxels of the batch before the ratio, as small organs need; else each sample has its own.
    """

    of_structures = True

    def __init__(self, *, batch: bool = True) -> None:
        self.batch = batch
        self.axes = (0, 2, 3, 4) if batch else (2, 3, 4)

    def __call__(self, log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        p, q = log_probabilities[:, 1:].exp() * weight, target[:, 1:] * weight
        marked = q.sum(self.axes)
        sums = torch.stack([(p - q).abs().sum(self.axes), p.sum(self.axes) + marked, marked])
        difference, total, marked = (pooled(sums) if self.batch else sums).unbind()
        loss = difference / total.clamp(min=1e-5)
        present = (marked > 0).to(loss.dtype)
        scores = torch.stack([(loss * present).sum(), present.sum()])
        added, count = (scores if self.batch else pooled(scores)).unbind()
        return added / count.clamp(min=1)


def cross_entropy(log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over the voxels that count, in nats; 0 when none does."""
    return mean_over(voxel_entropy(log_probabilities, target, weight), weight)


def mean_over(values: Tensor, weight: Tensor) -> Tensor:
    """Sum of the values over the sum of the weights, over the whole batch; 0 where nothing counts."""
    total, count = pooled(torch.stack([values.sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)


def voxel_entropy(log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of each voxel (B, 1, X, Y, Z), 0 where it does not count."""
    # A class that cannot be (log-probability at the type's lowest) is in no target; 0 times that is 0, not NaN.
    return -(target * log_probabilities).sum(1, keepdim=True) * weight


class TopKCrossEntropy:
    """Mean cross-entropy of the hardest voxels of the batch.

    Source: Wu, Shen, van den Hengel, Bridging Category-level and Instance-level Semantic Image Segmentation, 2016;
    the share of 10 % is nnU-Net's.

    Args:
        share: of all voxels, above 0, at most 1; with 1 it is the cross-entropy.
    """

    def __init__(self, share: float = 0.1) -> None:
        self.share = share

    def __call__(self, log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        entropy = voxel_entropy(log_probabilities, target, weight).flatten()
        everywhere = gathered(entropy)
        kept = max(1, round(self.share * everywhere.numel()))
        if len(everywhere) == len(entropy):
            hardest = entropy.topk(kept, sorted=False).values.sum()  # voxels that do not count are 0, and come last
        else:  # the least of the hardest voxels of all processes bounds each one's own; equal ones share what is left
            least = everywhere.topk(kept, sorted=False).values.min()
            left = (kept - (everywhere > least).sum()) / (everywhere == least).sum()
            hardest = entropy[entropy > least].sum() + entropy[entropy == least].sum() * left
        total, count = pooled(torch.stack([hardest, weight.sum()])).unbind()
        return total / count.clamp(min=1, max=kept)


class Focal:
    """Cross-entropy with voxels that are already right weighed down by `(1 - p)^gamma`, class by class.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.

    Args:
        gamma: 0 or above; with 0 it is the cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma

    def __call__(self, log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        if not self.gamma:
            return cross_entropy(log_probabilities, target, weight)
        # The floor keeps the slope of the power finite at p = 1 for gamma below 1.
        doubt = (1 - log_probabilities.exp()).clamp(min=1e-6) ** self.gamma
        return cross_entropy(log_probabilities * doubt, target, weight)
