"""The same transforms on a whole batch (B, C, X, Y, Z), on the device on which it lies."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import collate_meta_tensor_fn
from torch import Tensor, nn

from medseg.config import build_config
from medseg.errors import GeometryError, UsageError
from medseg.shapes import Triple
from medseg.transforms.entries import checked_spacing
from medseg.transforms.pipeline import Pipeline, build_pipeline
from medseg.transforms.steps import TransformsConfig
from medseg.transforms.transform import RandomTransform
from medseg.transforms.window import WindowHu, WindowParams

Items = Tensor | Sequence[Tensor]  # (B, C, X, Y, Z), or B tensors (C, X, Y, Z) whose X, Y, Z may differ
Seeds = Sequence[Sequence[int]]
Params = tuple[Any, ...]
Sample = dict[Any, Any]


class BatchAugment(nn.Module):
    """A pipeline as a module: each item of the batch gets parameters of its own, drawn on the CPU.

    The result for an item is that of the pipeline for the same sample and seed: bit by bit on the CPU, within rounding
    on another device, where the same functions run there without the host waiting for a value. In `eval` mode nothing
    is random: the patch is cut from the middle and the window is applied with its ends at rest.

    Without seeds, item i of call n draws from the seed (s, process, n, i), s from `set_random_state`; give seeds where
    a resumed training must go on with the same patches. The parameters of the latest call stay in `params`.

    Args:
        transforms: a pipeline, a recipe's part, or the name of a preset; the first is used as it is, the others are
            built with `options`.
        options: as in `build_pipeline`, such as `mirror_pairs`, `spacing_mm` and `patch_shape`.

    Example:
        >>> augment = BatchAugment("ct_default", mirror_pairs=((1, 2),), spacing_mm=(1.5, 1.5, 3.0))
        >>> images, labels = torch.zeros(2, 1, 16, 16, 8), torch.zeros(2, 1, 16, 16, 8, dtype=torch.int16)
        >>> images, labels = augment(images, labels)
        >>> images.shape, labels.dtype
        (torch.Size([2, 1, 16, 16, 8]), torch.int16)
    """

    def __init__(self, transforms: Pipeline | TransformsConfig | str, **options: Any) -> None:
        super().__init__()
        if isinstance(transforms, str):
            transforms = build_config(TransformsConfig, {"preset": transforms})
        if isinstance(transforms, TransformsConfig):
            transforms = build_pipeline(transforms, **options)
        elif options:
            raise UsageError("a pipeline is already built", got=", ".join(options), do="Give these to build_pipeline.")
        self.pipeline, self.params = copy(transforms), ()
        self.pipeline.allow_missing_keys = True  # labels are an argument of `forward`, which sees that they are there
        self._seed = self._calls = 0

    def set_random_state(self, seed: int) -> BatchAugment:
        """Starts the module's own seeds anew from a whole number that is not negative."""
        self._seed, self._calls = seed, 0
        return self

    def forward(
        self,
        images: Items,
        labels: Items | None = None,
        *,
        seeds: Seeds | None = None,
        params: Sequence[Sequence[Any]] | None = None,
        spacing_mm: Triple | Sequence[Triple] | None = None,
        donors: Items | None = None,
    ) -> Any:
        """New images, or (images, labels) if labels are given; the given tensors are not changed.

        Args:
            images: (B, C, X, Y, Z) of any floating-point type, or B tensors (C, X, Y, Z) that a `patch_shape` makes
                equal.
            labels: integers (B, R, X, Y, Z), or soft targets (B, C, X, Y, Z).
            seeds: one for each item, such as (seed, epoch, case, patch).
            params: known parameters of each item, to be applied again.
            spacing_mm: of all items, or one for each; None as in `build_pipeline`.
            donors: other patients' images from which tissue may be taken; None takes the next item of the batch, and
                in a batch of one there is none.

        Raises:
            UsageError: the batch is empty; not one seed, parameter set, label or donor for each item; a spacing here
                and one in the pipeline.
            GeometryError, LabelError, VoxelError: as in `entries.read_entries`; results of different shapes.
        """
        moved = self.each(images, labels, seeds=seeds, params=params, spacing_mm=spacing_mm, donors=donors)
        new_images = _stacked([sample[self._image_key] for sample in moved])
        return new_images if labels is None else (new_images, _stacked([sample[self._label_key] for sample in moved]))

    def each(
        self,
        images: Items,
        labels: Items | None = None,
        *,
        seeds: Seeds | None = None,
        params: Sequence[Sequence[Any]] | None = None,
        spacing_mm: Triple | Sequence[Triple] | None = None,
        donors: Items | None = None,
    ) -> list[Sample]:
        """As `forward`, the items apart, under the pipeline's keys: they may differ in shape or number of raters."""
        samples = self._samples(images, labels, spacing_mm, donors)
        given = params if params is not None else self._seeds(seeds, len(samples))
        if len(given) != len(samples):
            what = "seed" if params is None else "set of parameters"
            raise UsageError(f"not one {what} for each item", expected=str(len(samples)), got=str(len(given)))
        act = self._draw if params is None else self._replay
        moved = [act(sample, one) for sample, one in zip(samples, given, strict=True)]
        self.params = tuple(drawn for _, drawn in moved)
        return [sample for sample, _ in moved]

    def _draw(self, sample: Sample, seed: Sequence[int]) -> tuple[Sample, Params]:
        if self.training:
            return self.pipeline(sample, seed=seed), self.pipeline.params
        return self._replay(sample, [_at_rest(transform) for _, transform in self.pipeline.transforms])

    def _replay(self, sample: Sample, params: Sequence[Any]) -> tuple[Sample, Params]:
        return self.pipeline.apply(sample, params), tuple(params)

    def _seeds(self, seeds: Seeds | None, count: int) -> Seeds:
        if seeds is not None:
            return seeds
        self._calls += 1
        return [(self._seed, _process(), self._calls - 1, i) for i in range(count)]

    @property
    def _image_key(self) -> Any:
        return next(key for key in self.pipeline.keys if key not in self.pipeline.label_keys)

    @property
    def _label_key(self) -> Any:
        return self.pipeline.label_keys[0] if self.pipeline.label_keys else "labels"

    def _samples(
        self, images: Items, labels: Items | None, spacing_mm: Triple | Sequence[Triple] | None, donors: Items | None
    ) -> list[Sample]:
        count = _count(images)
        if donors is None and count > 1 and self.pipeline.needs_donor:
            donors = [images[(i + 1) % count] for i in range(count)]
        spacings = _each_spacing(spacing_mm, count)
        if spacings is not None and self.pipeline.spacing_mm is not None:
            raise UsageError("the spacing is given twice", where="spacing_mm", expected="one in the call or before",
                             got=f"{self.pipeline.spacing_mm} before")  # fmt: skip
        for name, items in (("labels", labels), ("donors", donors), ("spacing_mm", spacings)):
            if items is not None and len(items) != count:
                raise UsageError(f"not one of {name} for each image", expected=str(count), got=str(len(items)))
        samples: list[Sample] = [{self._image_key: images[i]} for i in range(count)]
        for key, items in ((self._label_key, labels), ("donor", donors), ("spacing_mm", spacings)):
            for i in range(count if items is not None else 0):
                samples[i][key] = items[i]  # type: ignore[index]
        return samples


def apply_batch(
    transform: RandomTransform[Any], images: Items, labels: Items | None, params: Sequence[Any]
) -> tuple[Tensor, Tensor | None]:
    """One transform on a batch with known parameters for each item; None leaves an item as it is.

    Args:
        transform: its `keys` are not looked at; tissue for an occlusion comes from the next item.
        images, labels: as in `BatchAugment.forward`.
    """
    pipeline = Pipeline([("transform", transform)], keys=("image", "labels"), label_keys=("labels",),
                        spacing_mm=transform.spacing_mm, allow_missing_keys=True)  # fmt: skip
    result = BatchAugment(pipeline)(images, labels, params=[(drawn,) for drawn in params])
    return result if labels is not None else (result, None)


def _at_rest(transform: RandomTransform[Any]) -> WindowParams | None:
    return WindowParams(transform.config.window_hu) if isinstance(transform, WindowHu) else None


def _count(images: Items) -> int:
    if isinstance(images, Tensor) and images.ndim != 5:
        raise GeometryError("no batch", expected="(B, C, X, Y, Z)", got=str(tuple(images.shape)),
                            do="Add the axes that are missing in front.")  # fmt: skip
    if not len(images):
        raise UsageError("the batch is empty", expected="one item at least")
    return len(images)


def _each_spacing(spacing_mm: Any, count: int) -> Sequence[Triple] | None:
    if spacing_mm is None:
        return None
    values = np.asarray(spacing_mm, dtype=float)
    return [checked_spacing(spacing_mm)] * count if values.ndim < 2 else values.tolist()


def _stacked(items: list[Tensor]) -> Tensor:
    shapes = {tuple(item.shape) for item in items}
    if len(shapes) > 1:
        raise GeometryError("the augmented items have different shapes", got=", ".join(map(str, sorted(shapes))),
                            do="Give a patch_shape, or items of one shape.")  # fmt: skip
    if all(isinstance(item, MetaTensor) for item in items):
        return collate_meta_tensor_fn(items)  # type: ignore[arg-type]
    return torch.stack(items)


def _process() -> int:
    """The rank of this process in a distributed training, so that no two of them draw alike; else 0."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if ready else 0
