"""Slices that the scan lacks: lost in transfer, left out, or spoilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.projection import constant
from medseg.transforms.ranges import CountRange, PositiveRange, Probability, Rng, fires, uniform, whole
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase
from medseg.transforms.warp import AIR_HU

SliceFill = Literal["repeat", "interpolate", "air"]
LARGEST_SHARE = 1 / 3  # of the slices in one block


def _some(fills: tuple[SliceFill, ...]) -> tuple[SliceFill, ...]:
    if not fills:
        raise ValueError("at least one of repeat, interpolate, air")
    return fills


class MissingSlicesConfig(StepBase):
    """Blocks of slices replaced; the labels stay, because the anatomy is still there.

    Args:
        probability: of acting.
        blocks: range of their number.
        thickness_mm: range of the height of a block along Z, at most a third of the image.
        fills: one is chosen each time: the nearest slice that is there, linear interpolation between the two next to
            the block, or air (-1024 HU).
    """

    name: Literal["missing_slices"] = "missing_slices"
    probability: Probability = 0.05
    blocks: CountRange = (1, 2)
    thickness_mm: PositiveRange = (3.0, 15.0)
    fills: Annotated[tuple[SliceFill, ...], AfterValidator(_some)] = ("repeat", "interpolate", "air")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> MissingSlices:
        """The transform; `options` as in `RandomTransform`."""
        return MissingSlices(keys, self, **options)


@dataclass(frozen=True)
class MissingSlicesParams:
    """Blocks as first slice and the one after the last, and what stands in for them."""

    blocks: tuple[tuple[int, int], ...]
    fill: SliceFill


class MissingSlices(RandomTransform[MissingSlicesParams]):
    """Replaces blocks along Z (axis 2); an image of fewer than three slices is left alone."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: MissingSlicesConfig = MissingSlicesConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> MissingSlicesParams | None:
        if not fires(rng, self.config.probability) or shape[2] * LARGEST_SHARE < 1:
            return None
        fill = self.config.fills[whole(rng, (0, len(self.config.fills) - 1))]
        blocks = tuple(self._block(rng, shape[2], spacing_mm[2]) for _ in range(whole(rng, self.config.blocks)))
        return MissingSlicesParams(blocks, fill)

    def _block(self, rng: Rng, slices: int, spacing_mm: float) -> tuple[int, int]:
        wanted = round(uniform(rng, self.config.thickness_mm) / spacing_mm)
        count = max(1, min(wanted, int(slices * LARGEST_SHARE)))
        first = whole(rng, (0, slices - count))
        return first, first + count

    def apply_image(self, image: Tensor, params: MissingSlicesParams) -> Tensor:
        filled = image.clone()
        for first, last in params.blocks:
            _fill(filled, first, last, params.fill)
        return filled


def _fill(image: Tensor, first: int, last: int, fill: SliceFill) -> None:
    """Replaces slices `first` to `last` of the image in place; at its end the one slice beside them stands for both."""
    block = image[..., first:last]
    below, above = max(first - 1, 0), min(last, image.shape[3] - 1)
    if first == 0:
        below = above
    if last == image.shape[3]:
        above = below
    if fill == "air":
        block[:] = AIR_HU
    elif fill == "interpolate":
        step = 1 / (last - first + 1)
        share = constant([(number + 1) * step for number in range(last - first)], image.device)
        low, high = image[..., below, None].clone(), image[..., above, None].clone()
        block[:] = low + (high - low) * share
    else:
        half = (last - first + 1) // 2
        block[..., :half] = image[..., below, None].clone()
        block[..., half:] = image[..., above, None].clone()
