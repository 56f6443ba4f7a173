"""What a spectrum of X-ray energies does to the image: cupping, and dark bands between dense bones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.projection import (
    WATER_PER_MM,
    attenuation,
    coarse_rays,
    project,
    reconstruct,
    to_coarse,
    to_fine,
)
from medseg.transforms.ranges import Probability, Rng, SizeRange, fires, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase

COARSE = 64  # pixels along the longer edge, and half as many slices: the artefact is smooth
ANGLES = 60
BONE_HU = 200.0  # what is denser hardens the beam beyond the correction for water
REFERENCE_SHARE = 0.7  # of a slice's longest path: where the scanner's correction for water is right


class BeamHardeningConfig(StepBase):
    """Cupping and dark bands.

    Args:
        probability: of acting.
        water: range of the share that a path's attenuation L loses per unit of L after an imperfect correction for
            water; 0.01 makes a cup of some 10 HU in a trunk.
        bone: the same for bone, which no correction for water reaches.
    """

    name: Literal["beam_hardening"] = "beam_hardening"
    probability: Probability = 0.1
    water: SizeRange = (0.0, 0.015)
    bone: SizeRange = (0.03, 0.15)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> BeamHardening:
        """The transform; `options` as in `RandomTransform`."""
        return BeamHardening(keys, self, **options)


@dataclass(frozen=True)
class BeamHardeningParams:
    """Strength in water and bone, and the voxel size."""

    water: float
    bone: float
    spacing_mm: Triple


class BeamHardening(RandomTransform[BeamHardeningParams]):
    """Adds the reconstruction of the error that a hardened beam makes in each ray; the labels stay.

    Long paths filter soft X-rays out, so their attenuation is measured too low, to second order by the square of it
    (Brooks and Di Chiro 1976; Joseph and Spital 1978). Here each ray loses `water * L * (L - L0)`, L0 being where the
    correction for water is right, and `bone * B^2`, B being the attenuation above 200 HU. The error is reconstructed
    on a coarse grid and added in HU.

    Assumed: parallel rays; rays begin and end at the patch; contrast agent counts as bone. Axes 0 and 1 are the
    axial plane.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: BeamHardeningConfig = BeamHardeningConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> BeamHardeningParams | None:
        if not fires(rng, self.config.probability):
            return None
        return BeamHardeningParams(uniform(rng, self.config.water), uniform(rng, self.config.bone), spacing_mm)

    def apply_image(self, image: Tensor, params: BeamHardeningParams) -> Tensor:
        if params.water == 0 and params.bone == 0:
            return image
        return image + hardening_hu(image, params)


def hardening_hu(image: Tensor, params: BeamHardeningParams) -> Tensor:
    """The artefact (C, X, Y, Z) in HU that an image in HU gets."""
    x, y, z = image.shape[1:]
    rays = coarse_rays((x, y), params.spacing_mm[:2], COARSE, ANGLES)
    planes = to_coarse(image, (*rays.shape, min(z, COARSE // 2))).permute(1, 2, 0, 3)
    tissue = project(attenuation(planes.clamp(max=BONE_HU)).flatten(2), rays)
    bone = project(attenuation(planes - BONE_HU - 1000).flatten(2), rays)
    right = tissue.amax(dim=(0, 1), keepdim=True) * REFERENCE_SHARE
    lost = tissue * (tissue - right) * params.water + bone * bone * params.bone
    artefact = reconstruct(lost, rays) * (-1000 / WATER_PER_MM)
    return to_fine(artefact.reshape(planes.shape).permute(2, 0, 1, 3), (x, y, z))
