"""Region targets: a whole tumour is tumour and core together, and is learned as a whole.

Every class keeps its own softmax channel. The probability of a region is the sum of those of its classes, so a region
within another can never be more probable than the other, and the network's answer stays one class per voxel: nothing
has to be merged, ordered or repaired after prediction. Networks with one sigmoid per region (BraTS; nnU-Net's
region-based training) can contradict themselves, such as a core outside its tumour, and need a rule by which regions
overwrite each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from medseg.config import Config
from medseg.errors import ConfigError
from medseg.losses.terms import Term

Regions = dict[str, tuple[str, ...]]


class RegionalConfig(Config):
    """What every loss shares: `regions`, name to classes; none: the classes themselves are the targets."""

    regions: Regions = Field(default_factory=dict)

    @field_validator("regions")
    @classmethod
    def _regions_have_classes(cls, regions: Regions) -> Regions:
        for name, classes in regions.items():
            if not classes or len(set(classes)) < len(classes):
                raise ValueError(f"different classes for region {name}, at least one")
        return regions


def find_regions(regions: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The class indices of each region; a class that lies in none becomes a region of its own.

    Args:
        regions: name to class names.
        names: of all classes, background first.

    Raises:
        ConfigError: a class that is not there or is the background, a region named like a class that it is not, or two
            classes that lie in the same regions, which nothing would tell apart.

    Example:
        >>> find_regions({"whole": ["tumour", "core"], "core": ["core"]}, ["background", "liver", "tumour", "core"])
        {'whole': (2, 3), 'core': (3,), 'liver': (1,)}
    """
    known = list(names[1:])
    for region, classes in regions.items():
        if wrong := [name for name in classes if name not in known]:
            raise ConfigError("no such class", where=f"loss.regions.{region}", expected=", ".join(known),
                              got=", ".join(wrong))  # fmt: skip
        if region in names and tuple(classes) != (region,):
            raise ConfigError("a region has the name of a class", where=f"loss.regions.{region}",
                              do="Give the region a name of its own.")  # fmt: skip
    found = {region: tuple(sorted(names.index(name) for name in classes)) for region, classes in regions.items()}
    found |= {name: (names.index(name),) for name in known if not any(names.index(name) in r for r in found.values())}
    alike: dict[tuple[str, ...], str] = {}
    for index, name in enumerate(known, 1):
        within = tuple(region for region, classes in found.items() if index in classes)
        if within in alike:
            raise ConfigError(f"{alike[within]} and {name} lie in the same regions, so nothing tells them apart",
                              where="loss.regions", do=f"Add a region of {name} alone.")  # fmt: skip
        alike[within] = name
    return found


class RegionTerms(nn.Module):
    """The terms of a loss on regions instead of classes.

    Terms that look at one structure at a time (Dice, outline, centre line) get the regions as their channels. Terms
    that look at one voxel at a time get, for each region, the two classes "inside" and "outside": cross-entropy becomes
    binary cross-entropy, the mean over regions and voxels.

    Args:
        terms: (weight, term) pairs, as in `WeighedTerms`.
        regions: class indices of each region.
    """

    def __init__(self, terms: Sequence[tuple[float, Term]], regions: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.terms, self.regions = [(weight, term) for weight, term in terms if weight], tuple(map(tuple, regions))

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor, known: Tensor | None = None) -> Tensor:
        """Scalar loss; the arguments are those of `WeighedTerms.forward`, over classes.

        Of a region only the classes that were looked for count in a sample: the others are outside it, because whoever
        did not look for them called them background. A region of which no class was looked for does not count.
        """
        log_probabilities = torch.log_softmax(logits.float(), dim=1)
        inside, outside, wanted, seen = self._merged(log_probabilities, target, known)
        total = logits.new_zeros((), dtype=torch.float32)
        lowest = torch.finfo(inside.dtype).min
        for share, term in self.terms:
            if getattr(term, "of_structures", False):
                background = torch.full_like(inside[:, :1], lowest)  # no such term looks at it
                channels = torch.cat([background, inside.masked_fill(~seen, lowest)], dim=1)
                targets = torch.cat([torch.zeros_like(wanted[:, :1]), wanted * seen], dim=1)
                total = total + share * term(channels, targets, weight)
            else:
                pairs = torch.stack([outside, inside], dim=2).flatten(0, 1)
                targets = torch.stack([1 - wanted, wanted], dim=2).flatten(0, 1)
                counted = (weight * seen).flatten(0, 1).unsqueeze(1)
                total = total + share * term(pairs, targets, counted)
        return total

    def _merged(
        self, log_probabilities: Tensor, target: Tensor, known: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probability of inside and outside and the target (B, R, X, Y, Z), and which count (B, R, 1, 1, 1)."""
        batch, classes = log_probabilities.shape[:2]
        member = torch.zeros((1, len(self.regions), classes), dtype=torch.bool)
        for place, region in enumerate(self.regions):
            member[0, place, list(region)] = True
        member = member.to(log_probabilities.device).expand(batch, -1, -1)
        if known is not None:
            member = member & known[:, None, :]
        lowest = torch.finfo(log_probabilities.dtype).min
        inside, outside, wanted = [], [], []
        for place in range(len(self.regions)):
            mine = member[:, place, :, None, None, None]
            inside.append(torch.logsumexp(log_probabilities.masked_fill(~mine, lowest), dim=1))
            outside.append(torch.logsumexp(log_probabilities.masked_fill(mine, lowest), dim=1))
            wanted.append((target * mine).sum(dim=1))
        seen = member.any(dim=2)[:, :, None, None, None]
        return torch.stack(inside, 1), torch.stack(outside, 1), torch.stack(wanted, 1), seen


def merge_labels(labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Where a class map shows a region (boolean, any shape)."""
    return torch.isin(labels, torch.tensor(list(classes), device=labels.device))
