"""A random rising curve of grey values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.channels import each_channel
from medseg.transforms.points import curved, statistics
from medseg.transforms.ranges import CountRange, Probability, Rng, Window, WorksIn, fires, uniform, whole
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


def _three(ends: tuple[int, int]) -> tuple[int, int]:
    if ends[0] < 3:
        raise ValueError("at least 3 control points, because both ends rest")
    return ends


class HistogramShiftConfig(StepBase):
    """A curve of straight pieces through control points whose ends rest.

    Args:
        probability: of acting.
        control_points: range of their number, both ends included; fewer make larger changes.
        between: grey values of the first and the last control point, for example a HU window, beyond which the image
            stays; None takes each channel's own least and greatest value (MONAI).
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["histogram_shift"] = "histogram_shift"
    probability: Probability = 0.1
    control_points: Annotated[CountRange, AfterValidator(_three)] = (10, 10)
    between: Window | None = None

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> HistogramShift:
        """The transform; `options` as in `RandomTransform`."""
        return HistogramShift(keys, self, **options)


@dataclass(frozen=True)
class HistogramShiftParams:
    """Heights of the curve at equal steps as shares, from 0 to 1; the grey values of both ends (None: the image's)."""

    curve: tuple[float, ...]
    between: tuple[float, float] | None = None


class HistogramShift(RandomTransform[HistogramShiftParams]):
    """Bends the grey-value curve at random; the order of grey values stays.

    A control point is drawn evenly between its lower neighbour's new height and its upper neighbour's old one, as in
    MONAI's RandHistogramShift.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: HistogramShiftConfig = HistogramShiftConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> HistogramShiftParams | None:
        if not fires(rng, self.config.probability):
            return None
        steps = whole(rng, self.config.control_points) - 1
        curve = [0.0]
        for point in range(1, steps):
            curve.append(uniform(rng, (curve[-1], (point + 1) / steps)))
        return HistogramShiftParams((*curve, 1.0), self.config.between)

    def apply_image(self, image: Tensor, params: HistogramShiftParams) -> Tensor:
        steps = len(params.curve) - 1
        if params.curve == tuple(point / steps for point in range(steps + 1)):
            return image
        if params.between is None:
            return each_channel(lambda channel: _own(channel, params.curve))(image)
        low, high = params.between
        inside = image.clamp(low, high)
        return image + (curved(inside, low, high, params.curve) - inside)


def _own(channel: Tensor, curve: tuple[float, ...]) -> Tensor:
    own = statistics(channel)
    return curved(channel, own.low, own.high, curve)
