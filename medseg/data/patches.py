"""Augmented patches, each a pure function of (seed, number): any number of workers gives the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset, default_collate

from medseg.config import Config
from medseg.data.coarse import with_coarse
from medseg.data.opinions import rater_target, renamed_known
from medseg.data.store import StoredCase, VoxelArray
from medseg.shapes import IntTriple
from medseg.transforms.batch import BatchAugment

AIR_HU = -1024
Augment = Callable[..., dict[Any, Any]]


class SamplingConfig(Config):
    """How patches are drawn.

    Args:
        foreground_share: share of patches centred on a labelled voxel; its class is drawn with equal chances, so that
            a kidney is seen as often as the lungs.
        margin_share: rim around the patch that is augmented with it and then cut off, so that a turned patch shows
            anatomy in its corners instead of air.
        workers: loader processes; 0 loads in the training process.
    """

    foreground_share: float = Field(default=0.67, ge=0, le=1)
    margin_share: float = Field(default=0.1, ge=0, le=1)
    workers: int = Field(default=0, ge=0)


@dataclass(frozen=True, eq=False)
class PatchSettings:
    """What `PatchDataset` needs besides the cases.

    Args:
        random_rater: every patch is that of one reader of its case, drawn anew each time; else of all of them.
        donors: every patch comes with a box of another case.
        raters: names by number, for networks that are told whose patch it is; empty for others.
    """

    patch: IntTriple
    sampling: SamplingConfig
    classes: int
    random_rater: bool
    seed: int
    donors: bool = False
    raters: tuple[str, ...] = ()


class PatchDataset(Dataset[dict[str, Any]]):
    """Item `n` is case number `n % cases` of epoch `n // cases` (each epoch in an order of its own), cut and augmented.

    `augment` is given HU with a margin around the patch; it cuts the margin off and normalises (`transforms.Pipeline`).
    An item holds `image` (1, X, Y, Z), `target` (C, X, Y, Z) probabilities, `weight` (1, X, Y, Z), the case's `id` and
    the `place` of the patch in words; where a case has readers who did not look for everything, all items hold `known`
    (C,) too, and where the settings name raters the number of the `rater`.

    Without `augment` an item is what `augmented` needs to do the same for a whole batch on a device: `image` with its
    margin in int16 HU, `labels`, `seed`, perhaps `donor`, and the rest, `known` for each reader (R, C).
    """

    def __init__(self, cases: Sequence[StoredCase], augment: Augment | None, settings: PatchSettings) -> None:
        self.cases, self.augment, self.settings = cases, augment, settings
        self.partly = any(case.known is not None for case in cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: int) -> dict[str, Any]:
        settings = self.settings
        epoch, place = divmod(number, len(self.cases))
        index = int(np.random.default_rng([settings.seed, epoch]).permutation(len(self.cases))[place])
        case, seed = self.cases[index], (settings.seed, epoch, index)
        rng = np.random.default_rng(seed)
        readers = self._readers(case, rng)
        sample, facts = self._cut_out(index, readers, rng), self._facts(case, readers)
        facts["place"] = _in_words(sample.pop("first"))
        if self.augment is None:
            return {**sample, "seed": seed, **facts}
        sample = self.augment({key: in_hu(key, value) for key, value in sample.items()}, seed=seed)
        params = getattr(self.augment, "params", ())
        image, labels = told(sample, case.coarse is not None, seed)
        return {"image": image, **learnable(labels, settings.classes, facts, self.augment, params)}

    def _readers(self, case: StoredCase, rng: np.random.Generator) -> slice:
        """Whose labels the patch gets: those of one who has read the case, or of all."""
        if not self.settings.random_rater:
            return slice(None)
        one = int(rng.integers(len(case.labels)))
        return slice(one, one + 1)

    def _facts(self, case: StoredCase, readers: slice) -> dict[str, Any]:
        facts: dict[str, Any] = {"id": case.id}
        if self.augment is None and case.coarse is not None:
            facts["coarse"] = True
        if self.settings.raters:
            facts["rater"] = self.settings.raters.index(case.raters[readers][0])
        if self.partly:
            everything = torch.ones(len(case.labels), self.settings.classes, dtype=torch.bool)
            facts["known"] = (everything if case.known is None else case.known)[readers]
        return facts

    def _cut_out(self, index: int, readers: slice, rng: np.random.Generator) -> dict[str, Any]:
        """The patch of a case with its margin, its first voxel, and perhaps tissue of another case."""
        case = self.cases[index]
        start, size = self._box(case, rng)
        labels = cut(case.labels, start, size, 0, readers)
        if case.coarse is not None:  # as one more reader, so that it is moved as the labels are
            labels = torch.cat([labels, cut(case.coarse, start, size, 0).to(labels.dtype)])
        sample: dict[str, Any] = {
            "image": cut(case.hu, start, size, AIR_HU),
            "labels": labels,
            "first": [
                first + (n - patch) // 2 for first, n, patch in zip(start, size, self.settings.patch, strict=True)
            ],
        }
        if self.settings.donors:
            other = self.cases[(index + 1 + int(rng.integers(len(self.cases) - 1))) % len(self.cases)]
            sample["donor"] = cut(other.hu, *self._box(other, rng), AIR_HU)
        return sample

    def _box(self, case: StoredCase, rng: np.random.Generator) -> tuple[IntTriple, IntTriple]:
        """First voxel and size of the patch with its margin, before augmentation."""
        shape, patch = case.hu.shape[1:], self.settings.patch
        if case.places and rng.random() < self.settings.sampling.foreground_share:
            places = case.places[int(rng.choice(sorted(case.places)))]
            centre = places[int(rng.integers(len(places)))].tolist()
        else:
            centre = [int(rng.integers(n)) for n in shape]
        start, size = [], []
        for n, wanted, middle in zip(shape, patch, centre, strict=True):
            # An image smaller than the patch is centred in it, and there is nothing beyond it to show in the margin.
            margin = 0 if n <= wanted else int(np.ceil(wanted * self.settings.sampling.margin_share / 2))
            first = (n - wanted) // 2 if n <= wanted else int(np.clip(middle - wanted // 2, 0, n - wanted))
            start.append(first - margin)
            size.append(wanted + 2 * margin)
        return tuple(start), tuple(size)  # type: ignore[return-value]


def cut(
    volume: VoxelArray, start: IntTriple, size: IntTriple, fill: int, channels: slice = slice(None)
) -> Tensor:  # fmt: skip
    """The box (C, *size) of some channels of a volume (C, X, Y, Z); `fill` where the box reaches beyond it."""
    slices, padding = [channels], []
    for first, length, n in zip(start, size, volume.shape[1:], strict=True):
        slices.append(slice(max(first, 0), max(min(first + length, n), 0)))
        padding.append((max(-first, 0), max(first + length - n, 0)))
    flat = [amount for pair in reversed(padding) for amount in pair]  # torch pads the last axis first
    return pad(volume[tuple(slices)], flat, value=fill)


def in_hu(key: str, value: Tensor) -> Tensor:
    """An entry as the transforms take it: stored CT numbers as float32, labels as they are."""
    return value if key == "labels" else value.float()


def augmented(batch: dict[str, Any], augment: BatchAugment, classes: int, device: torch.device) -> dict[str, Any]:
    """A batch of items without `augment`, augmented on the device: what a loader that augments would have given.

    Equal bit by bit on the CPU, within rounding elsewhere.
    """
    moved = {
        key: [in_hu(key, value.to(device, non_blocking=True)) for value in batch[key]]
        for key in ("image", "labels", "donor")
        if key in batch
    }
    samples = augment.each(moved["image"], moved["labels"], seeds=batch["seed"], donors=moved.get("donor"))
    facts = [
        {key: batch[key][i] for key in ("id", "place", "rater", "known") if key in batch} for i in range(len(samples))
    ]
    items = []
    for sample, fact, params, seed in zip(samples, facts, augment.params, batch["seed"], strict=True):
        image, labels = told(sample, "coarse" in batch, seed)
        items.append({"image": image, **learnable(labels, classes, fact, augment.pipeline, params)})
    return default_collate(items)


def told(sample: dict[str, Tensor], coarse: bool, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Image and labels of an augmented sample; in a cascade the image with the coarser network's classes, damaged."""
    return with_coarse(sample["image"], sample["labels"], seed) if coarse else (sample["image"], sample["labels"])


def learnable(
    labels: Tensor, classes: int, facts: dict[str, Any], pipeline: Any, params: Sequence[Any]
) -> dict[str, Any]:
    """What an item holds besides the image: `target`, `weight` and the facts, after an augmentation.

    Args:
        labels: (R, X, Y, Z) after the augmentation.
        facts: `known` (R, C) is as it was before; it becomes that of the item (C,).
        pipeline, params: the augmentation and what it drew.
    """
    if "known" not in facts:
        target, weight = rater_target(labels, classes)
        return {"target": target, "weight": weight, **facts}
    known = renamed_known(facts["known"], pipeline, params)
    target, weight = rater_target(labels, classes, known.to(labels.device))
    return {"target": target, "weight": weight, **facts, "known": known.any(0)}


def _in_words(first: Sequence[int]) -> str:
    return f"voxel {', '.join(map(str, first))} of the standardised grid"


def batches(
    dataset: PatchDataset,
    first_step: int,
    steps: int,
    batch: int,
    workers: int,
    *,
    pinned: bool = False,
    share: tuple[int, int] = (0, 1),
) -> DataLoader[dict[str, Any]]:
    """Batches of step `first_step` to `steps`; a resumed run gets exactly those that the lost one would have got.

    Without `augment` a batch holds lists, because patches with their margins differ in shape.

    Args:
        batch: patches per step, of all processes of the training together.
        pinned: keep batches in memory from which a CUDA device copies while the host goes on.
        share: number of this process and how many there are; each gets its own part of every batch.
    """
    rank, processes = share
    own = batch // processes
    numbers = _Numbers(first_step, steps, batch, range(rank * own, (rank + 1) * own))
    # A generator of its own: otherwise each loader draws from the state that dropout goes on with after a resume.
    return DataLoader(
        dataset, batch_size=own, sampler=numbers, num_workers=workers, persistent_workers=False, pin_memory=pinned,
        collate_fn=_listed if dataset.augment is None else None, generator=torch.Generator(),
    )  # fmt: skip


@dataclass(frozen=True)
class _Numbers:
    """The item numbers of steps `first` to `last`: those at `places` of each batch."""

    first: int
    last: int
    batch: int
    places: range

    def __len__(self) -> int:
        return max(self.last - self.first, 0) * len(self.places)

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first, self.last):
            yield from (step * self.batch + place for place in self.places)


def _listed(items: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [item[key] for item in items] for key in items[0]}
