"""Random pose, size and shape of the body: affine and elastic deformation."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.deformation import (
    AIR_HU,
    FOLD_FREE,
    AffineParams,
    ElasticParams,
    LabelInterpolation,
    Warp,
    voxel_map,
)
from medseg.transforms.entries import Entries
from medseg.transforms.ranges import (
    Bound,
    PositiveRange,
    Probability,
    Rng,
    SizeRange,
    fires,
    log_uniform,
    new_seed,
    symmetric,
    uniform,
)
from medseg.transforms.transform import DEFAULT_KEYS, GeometricTransform, Keys, StepBase
from medseg.transforms.warp import unwarp_entries, warp_entries, warp_image, warp_labels


def _per_axis(value: Any) -> Any:
    return (value, value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


PerAxis = Annotated[tuple[Bound, Bound, Bound], BeforeValidator(_per_axis)]
Angle = Annotated[float, Field(ge=0, lt=90)]
PerPlane = Annotated[tuple[Angle, Angle, Angle], BeforeValidator(_per_axis)]
Ratio = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Outside = Annotated[float, Field(allow_inf_nan=False)] | Literal["repeat"]
Draw = Literal["log_uniform", "uniform", "reciprocal"]


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError("a positive number")
    return value


class AffineConfig(StepBase):
    """Rotation and scaling and, on request, shear and translation, about the centre of the grid.

    Args:
        probability: of acting.
        rotation_deg: largest angle about X, Y, Z either way; one number stands for all three.
        scale: range of the common factor; above 1 enlarges.
        axis_scale: range of a further factor for each axis.
        scale_draw: how both are drawn: `log_uniform`, x and 1/x equally likely; `uniform`; `reciprocal`, 1/x uniform,
            which is how peers draw that scale the sampling grid.
        shear_deg: largest lean either way of Y towards X, Z towards X, Z towards Y (`AffineParams`).
        translation_mm: largest shift along X, Y, Z either way.
        rotation_probability, scale_probability, shear_probability, translation_probability: of each part, tossed
            independently once the transform acts; with `probability: 1` they are the parts' own probabilities.
        axis_rotation_probability: of each axis to be turned about, once the rotation does act.
        in_plane_only_above: where a voxel or the patch is more unequal than this ratio, slices stay slices: rotation
            about the thick axis only, scale and shear within the slice. None never does so.
        in_plane_rotation_deg: largest angle then; None takes that of the thick axis in `rotation_deg`.
        interpolation: of integer labels: `nearest`, or `linear_argmax`, the class with the largest interpolated share.
        outside_hu: of image voxels from beyond the image, where labels become background; `repeat` repeats the
            outermost voxels of image and labels.
    """

    name: Literal["affine"] = "affine"
    probability: Probability = 0.4
    rotation_deg: PerAxis = (15.0, 15.0, 15.0)
    scale: PositiveRange = (0.8, 1.25)
    axis_scale: PositiveRange = (0.95, 1.05)
    scale_draw: Draw = "log_uniform"
    shear_deg: PerPlane = (0.0, 0.0, 0.0)
    translation_mm: PerAxis = (0.0, 0.0, 0.0)
    rotation_probability: Probability = 1.0
    scale_probability: Probability = 1.0
    shear_probability: Probability = 1.0
    translation_probability: Probability = 1.0
    axis_rotation_probability: Probability = 1.0
    in_plane_only_above: Ratio | None = 3.0
    in_plane_rotation_deg: Bound | None = None
    interpolation: LabelInterpolation = "nearest"
    outside_hu: Outside = AIR_HU

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Affine:
        """The transform; `options` as in `RandomTransform`."""
        return Affine(keys, self, **options)


class ElasticConfig(StepBase):
    """A smooth bending that cannot fold.

    Args:
        probability: of acting.
        control_spacing_mm: distance of the control points; larger is smoother.
        displacement_mm: range of how far a control point moves along an axis; at most 0.403 of their distance.
        in_plane_only_above, interpolation, outside_hu: as in `AffineConfig`.
    """

    name: Literal["elastic"] = "elastic"
    probability: Probability = 0.2
    control_spacing_mm: Annotated[float, AfterValidator(_positive)] = 40.0
    displacement_mm: SizeRange = (4.0, 16.0)
    in_plane_only_above: Ratio | None = 3.0
    interpolation: LabelInterpolation = "nearest"
    outside_hu: Outside = AIR_HU

    def model_post_init(self, context: Any) -> None:
        limit = FOLD_FREE * self.control_spacing_mm
        if self.displacement_mm[1] > limit:
            raise ValueError(f"displacement_mm of at most {limit:.3g} (0.403 of control_spacing_mm), so nothing folds")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Elastic:
        """The transform; `options` as in `RandomTransform`."""
        return Elastic(keys, self, **options)


class Warping(GeometricTransform[Warp], ABC):
    """What resamples: its parameters are a `Warp`, so that several in a row can be made one."""

    def apply_image(self, image: Tensor, params: Warp) -> Tensor:
        return warp_image(image, params)

    def apply_labels(self, labels: Tensor, params: Warp) -> Tensor:
        return warp_labels(labels, params)

    def apply_entries(self, entries: Entries, params: Warp) -> Entries:
        return warp_entries(entries, params)

    def invert_entries(self, entries: Entries, params: Warp | None, shape: IntTriple) -> Entries:
        """Image and labels back on the grid of `shape` on which they were, interpolated once more."""
        return entries if params is None else unwarp_entries(entries, params, shape)

    def voxel_map(self, params: Warp, shape: IntTriple) -> FloatArray:
        # The affine part alone; not None for an elastic step, as the pipeline may have joined an affine one into it.
        return voxel_map(params, shape)


class Affine(Warping):
    """Rotates, scales, shears and shifts the anatomy; a MetaTensor's affine follows, so world positions stay true."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: AffineConfig = AffineConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Warp | None:
        """The parts are all drawn, whether or not they fire, so that one part's probability leaves the others alone."""
        config = self.config
        if not fires(rng, config.probability):
            return None
        thick = thick_axis(shape, spacing_mm, config.in_plane_only_above)
        rotation = symmetric(rng, _rotation_bounds(config, thick))
        scale = _scale(rng, config, thick)
        shear = symmetric(rng, _shear_bounds(config, thick))
        shift = symmetric(rng, config.translation_mm)
        still = AffineParams()
        affine = AffineParams(
            rotation if fires(rng, config.rotation_probability) else still.rotation_deg,
            scale if fires(rng, config.scale_probability) else still.scale,
            shear_deg=shear if fires(rng, config.shear_probability) else still.shear_deg,
            translation_mm=shift if fires(rng, config.translation_probability) else still.translation_mm,
        )
        x, y, z = (a if fires(rng, config.axis_rotation_probability) else 0.0 for a in affine.rotation_deg)
        affine = replace(affine, rotation_deg=(x, y, z))
        return None if affine == still else _warp(config, spacing_mm, affine=affine)


class Elastic(Warping):
    """Bends the anatomy; no matrix can say this, so a MetaTensor keeps its affine."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: ElasticConfig = ElasticConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Warp | None:
        config = self.config
        if not fires(rng, config.probability):
            return None
        bend = ElasticParams(
            config.control_spacing_mm,
            uniform(rng, config.displacement_mm),
            seed=new_seed(rng),
            still_axis=thick_axis(shape, spacing_mm, config.in_plane_only_above),
        )
        return _warp(config, spacing_mm, elastic=bend)


def thick_axis(shape: IntTriple, spacing_mm: Triple, ratio: float | None) -> int | None:
    """The axis across the slices: that of far larger voxels, else that of far fewer; None where neither is.

    Example:
        >>> thick_axis((128, 128, 64), (0.8, 0.8, 5.0), 3.0), thick_axis((128, 128, 16), (1.0, 1.0, 1.0), 3.0)
        (2, 2)
    """
    if ratio is None:
        return None
    if max(spacing_mm) > ratio * min(spacing_mm):
        return spacing_mm.index(max(spacing_mm))
    return shape.index(min(shape)) if max(shape) > ratio * min(shape) else None


def _warp(config: AffineConfig | ElasticConfig, spacing_mm: Triple, **parts: Any) -> Warp:
    outside = None if config.outside_hu == "repeat" else config.outside_hu
    return Warp(spacing_mm, outside_hu=outside, interpolation=config.interpolation, **parts)


def _rotation_bounds(config: AffineConfig, thick: int | None) -> Triple:
    if thick is None:
        return config.rotation_deg
    in_plane = config.in_plane_rotation_deg
    angle = config.rotation_deg[thick] if in_plane is None else in_plane
    x, y, z = (angle if axis == thick else 0.0 for axis in range(3))
    return x, y, z


def _shear_bounds(config: AffineConfig, thick: int | None) -> Triple:
    """A lean is within a slice if neither of its two axes is the thick one: XY, XZ, YZ."""
    x, y, z = (bound if thick in (None, 2 - plane) else 0.0 for plane, bound in enumerate(config.shear_deg))
    return x, y, z


def _scale(rng: Rng, config: AffineConfig, thick: int | None) -> Triple:
    common = _factor(rng, config.scale, config.scale_draw)
    x, y, z = (
        1.0 if axis == thick else factor
        for axis, factor in enumerate([common * _factor(rng, config.axis_scale, config.scale_draw) for _ in range(3)])
    )
    return x, y, z


def _factor(rng: Rng, ends: tuple[float, float], draw: Draw) -> float:
    if draw == "log_uniform":
        return log_uniform(rng, ends)
    return uniform(rng, ends) if draw == "uniform" else 1 / uniform(rng, (1 / ends[1], 1 / ends[0]))
