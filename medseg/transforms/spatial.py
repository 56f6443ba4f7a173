"""Random pose, size and shape of the body: affine and elastic deformation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator
from torch import Tensor

from medseg.config import Config
from medseg.shapes import FloatArray, IntTriple, Triple
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
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform
from medseg.transforms.warp import AIR_HU, AffineParams, ElasticParams, Warp, voxel_map, warp_image, warp_labels

# A uniform cubic B-spline deformation in 3-D is one-to-one while no control point moves further along any axis than
# this share of their distance (Choi and Lee 2000, Injectivity conditions of 2D and 3D uniform cubic B-splines).
FOLD_FREE = 1 / 2.4794


def _per_axis(value: Any) -> Any:
    return (value, value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


PerAxis = Annotated[tuple[Bound, Bound, Bound], BeforeValidator(_per_axis)]


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError("a positive number")
    return value


class AffineConfig(Config):
    """Rotation, scaling and, on request, translation about the centre of the grid.

    Args:
        probability: of acting.
        rotation_deg: largest angle about X, Y, Z either way; one number stands for all three.
        scale: range of the common factor; above 1 enlarges. Drawn so that x and 1/x are equally likely.
        axis_scale: range of a further factor for each axis.
        translation_mm: largest shift along X, Y, Z either way.
        outside_hu: of image voxels from beyond the image; labels become background there.
    """

    name: Literal["affine"] = "affine"
    probability: Probability = 0.4
    rotation_deg: PerAxis = (15.0, 15.0, 15.0)
    scale: PositiveRange = (0.8, 1.25)
    axis_scale: PositiveRange = (0.95, 1.05)
    translation_mm: PerAxis = (0.0, 0.0, 0.0)
    outside_hu: float = AIR_HU

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Affine:
        """The transform; `options` as in `RandomTransform`."""
        return Affine(keys, self, **options)


class ElasticConfig(Config):
    """A smooth bending that cannot fold.

    Args:
        probability: of acting.
        control_spacing_mm: distance of the control points; larger is smoother.
        displacement_mm: range of how far a control point moves along an axis; at most 0.403 of their distance.
        outside_hu: as in `AffineConfig`.
    """

    name: Literal["elastic"] = "elastic"
    probability: Probability = 0.2
    control_spacing_mm: Annotated[float, AfterValidator(_positive)] = 40.0
    displacement_mm: SizeRange = (4.0, 16.0)
    outside_hu: float = AIR_HU

    def model_post_init(self, context: Any) -> None:
        limit = FOLD_FREE * self.control_spacing_mm
        if self.displacement_mm[1] > limit:
            raise ValueError(f"displacement_mm of at most {limit:.3g} (0.403 of control_spacing_mm), so nothing folds")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Elastic:
        """The transform; `options` as in `RandomTransform`."""
        return Elastic(keys, self, **options)


class Affine(RandomTransform[Warp]):
    """Rotates, scales and shifts the anatomy; a MetaTensor's affine follows, so world positions stay true."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: AffineConfig = AffineConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Warp | None:
        if not fires(rng, self.config.probability):
            return None
        rotation = symmetric(rng, self.config.rotation_deg)
        common = log_uniform(rng, self.config.scale)
        x, y, z = (common * log_uniform(rng, self.config.axis_scale) for _ in range(3))
        shift = symmetric(rng, self.config.translation_mm)
        return Warp(spacing_mm, AffineParams(rotation, (x, y, z), shift), outside_hu=self.config.outside_hu)

    def apply_image(self, image: Tensor, params: Warp) -> Tensor:
        return warp_image(image, params)

    def apply_labels(self, labels: Tensor, params: Warp) -> Tensor:
        return warp_labels(labels, params)

    def voxel_map(self, params: Warp, shape: IntTriple) -> FloatArray:
        return voxel_map(params, shape)


class Elastic(RandomTransform[Warp]):
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
        if not fires(rng, self.config.probability):
            return None
        bend = ElasticParams(
            self.config.control_spacing_mm, uniform(rng, self.config.displacement_mm), seed=new_seed(rng)
        )
        return Warp(spacing_mm, elastic=bend, outside_hu=self.config.outside_hu)

    def apply_image(self, image: Tensor, params: Warp) -> Tensor:
        return warp_image(image, params)

    def apply_labels(self, labels: Tensor, params: Warp) -> Tensor:
        return warp_labels(labels, params)

    def voxel_map(self, params: Warp, shape: IntTriple) -> FloatArray:
        # Not None: the pipeline may have joined an affine step into these parameters.
        return voxel_map(params, shape)
