"""A patch cut from a larger sample at a random place."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from medseg.errors import GeometryError
from medseg.shapes import IntTriple, Triple
from medseg.transforms.deformation import Warp
from medseg.transforms.ranges import Probability, Rng, fires, whole
from medseg.transforms.spatial import Warping
from medseg.transforms.transform import DEFAULT_KEYS, Keys, StepBase


def _some_voxels(size: IntTriple) -> IntTriple:
    if min(size) < 1:
        raise ValueError("at least 1 voxel along X, Y, Z")
    return size


class CropConfig(StepBase):
    """A patch of `size` voxels, every place equally likely.

    Args:
        size: of the patch along X, Y, Z.
        probability: of a random place; else the patch is the middle of the sample. It is always cut.
    """

    works_in: ClassVar[Literal["hu", "any"]] = "any"
    name: Literal["crop"] = "crop"
    size: Annotated[IntTriple, AfterValidator(_some_voxels)] = (128, 128, 128)
    probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Crop:
        """The transform; `options` as in `RandomTransform`."""
        return Crop(keys, self, **options)


class Crop(Warping):
    """Cuts image and labels to a patch.

    Its parameters are a `Warp` that moves nothing, so that an affine or elastic step right after it can be joined to it
    (`Warp.joined`): then the patch is resampled straight from the sample, and what lies around it, not air, fills the
    corners of a turned patch.
    """

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: CropConfig = CropConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Warp:
        """The patch's first voxel and shape.

        Raises:
            GeometryError: the patch is larger than the sample.
        """
        room = [n - wanted for n, wanted in zip(shape, self.config.size, strict=True)]
        if min(room) < 0:
            raise GeometryError("the patch is larger than the sample", expected=f"at most {shape}",
                                got=str(self.config.size), do="Pad the sample.")  # fmt: skip
        random = fires(rng, self.config.probability)
        x, y, z = (whole(rng, (0, free)) if random else free // 2 for free in room)
        return Warp(spacing_mm, patch_shape=self.config.size, patch_start=(x, y, z))
