"""The same parameters given to our transforms and to MONAI's, on the same image.

Both interpolate linearly in single precision; where they differ it is by rounding of coordinates, which is largest at
the steepest edges. Voxels that show something from beyond the image are left out: there the rules differ on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from augmentation_parity_rows import Row
from torch import Tensor

from medseg.transforms.deformation import AffineParams, Warp
from medseg.transforms.flip import FlipConfig, FlipParams
from medseg.transforms.intensity import GammaConfig, GammaParams
from medseg.transforms.noise import NoiseConfig
from medseg.transforms.relative import (
    ContrastMeanConfig,
    ContrastMeanParams,
    GammaRangeConfig,
    GammaRangeParams,
    MultiplyConfig,
    MultiplyParams,
)
from medseg.transforms.resolution import BlurConfig, BlurParams, LowResolutionConfig, LowResolutionParams
from medseg.transforms.spatial import AffineConfig, ElasticConfig

ROUNDING_HU = 0.1  # coordinates near 100 in single precision (8e-6) at an edge of 2000 HU a voxel, several times
RIM = 2  # voxels next to the border of the source, whose neighbours lie outside
SPACING_MM = (1.0, 1.0, 1.0)
WINDOW_HU = (-160.0, 240.0)


def rows(image: Tensor, labels: Tensor) -> Iterator[Row]:
    """One row for each transform.

    Args:
        image: (1, X, Y, Z) float32 in HU; its grid is taken as 1 mm.
        labels: (1, X, Y, Z) int16 on the same grid.
    """
    yield from affine(image, labels)
    yield from elastic(image, labels)
    yield from noise(image)
    yield gamma(image)
    yield from gamma_range(image)
    yield from low_resolution(image)
    yield blur(image)
    yield from factors(image)
    yield flip(image)


# ---- voxels that move


def affine(image: Tensor, labels: Tensor) -> Iterator[Row]:
    """Angles about one axis and a factor for each axis, in MONAI's own parameters, which say where voxels come from."""
    from monai.transforms import Affine  # type: ignore[attr-defined]

    for axis, angle in enumerate((20.0, -15.0, 30.0)):
        params = _affine_params(rotation=tuple(angle * (place == axis) for place in range(3)))
        turn = [-math.radians(angle) * (place == axis) for place in range(3)]
        yield from _warped(
            f"affine, {angle:+g}° about {'XYZ'[axis]}", image, labels, params, Affine(rotate_params=turn)
        )
    scale = (1.2, 0.9, 1.1)
    params = _affine_params(scale=scale)
    yield from _warped("affine, scale", image, labels, params, Affine(scale_params=[1 / factor for factor in scale]))


def elastic(image: Tensor, labels: Tensor) -> Iterator[Row]:
    """Our bending as a field of coordinates, resampled by MONAI."""
    from monai.transforms import Resample  # type: ignore[attr-defined]

    transform = ElasticConfig(probability=1, in_plane_only_above=None).build(("image", "labels"))
    params = transform.sample(np.random.default_rng(0), tuple(image.shape[1:]), SPACING_MM)
    shape = np.array(image.shape[1:])
    ramps = torch.from_numpy(np.indices(shape).astype(np.float32))
    places = transform.apply_image(ramps, params)  # a linear image shows where it is read
    grid = places - torch.from_numpy((shape - 1) / 2).float()[:, None, None, None]

    def peer(tensor: Tensor, mode: str) -> Tensor:
        return Resample(mode=mode, padding_mode="zeros")(tensor, grid=grid, mode=mode)

    yield from _compared("elastic", transform, params, image, labels, peer)


def _affine_params(rotation: Any = (0.0, 0.0, 0.0), scale: Any = (1.0, 1.0, 1.0)) -> Any:
    return Warp(SPACING_MM, AffineParams(rotation, scale))


def _warped(name: str, image: Tensor, labels: Tensor, params: Any, theirs: Any) -> Iterator[Row]:
    def peer(tensor: Tensor, mode: str) -> Tensor:
        return theirs(tensor, mode=mode, padding_mode="zeros")[0]

    yield from _compared(name, AffineConfig().build(("image", "labels")), params, image, labels, peer)


def _compared(name: str, transform: Any, params: Any, image: Tensor, labels: Tensor, peer: Any) -> Iterator[Row]:
    inside = _well_inside(transform, params, image)
    ours, theirs = transform.apply_image(image, params)[inside], _plain(peer(image, "bilinear"))[inside]
    yield Row(f"{name}: image", "MONAI", float((ours - theirs).abs().max()), ROUNDING_HU, "HU")
    moved, other = transform.apply_labels(labels, params)[inside], _plain(peer(labels.float(), "nearest"))[inside]
    share = float((moved != other).float().mean())
    yield Row(f"{name}: labels", "MONAI", share, 1e-4, "share of voxels")


def _well_inside(transform: Any, params: Any, image: Tensor) -> Tensor:
    """Voxels of the result that show the source more than a rim away from its border."""
    core = torch.zeros_like(image)
    core[:, RIM:-RIM, RIM:-RIM, RIM:-RIM] = 1
    return transform.apply_image(core, params) > 0.999


# ---- grey values


def noise(image: Tensor) -> Iterator[Row]:
    """The distribution of what was added: standard deviation, mean, and the share beyond two deviations."""
    sigma = 25.0
    transform = NoiseConfig(probability=1, sigma_hu=(sigma, sigma)).build("image")
    params = transform.sample(np.random.default_rng(0), tuple(image.shape[1:]), SPACING_MM)
    flat = torch.zeros_like(image)
    ours = transform.apply_image(flat, params) / sigma
    theirs = _noise_of_monai(flat, sigma) / sigma
    count = flat.numel()
    for name, number, spread in (
        ("mean", lambda x: float(x.mean()), 1.0),
        ("standard deviation", lambda x: float(x.std()), math.sqrt(0.5)),
        ("share beyond 2 sd", lambda x: float((x.abs() > 2).float().mean()), math.sqrt(0.0455 * 0.9545)),
    ):
        allowed = 4 * spread * math.sqrt(2 / count)  # four standard errors of a difference
        yield Row(f"noise: {name}", "MONAI", number(ours) - number(theirs), allowed, "sd", number(ours), number(theirs))


def _noise_of_monai(image: Tensor, sigma: float) -> Tensor:
    from monai.transforms import RandGaussianNoise  # type: ignore[attr-defined]

    theirs = RandGaussianNoise(prob=1, std=sigma, sample_std=False)
    theirs.set_random_state(0)
    return _plain(theirs(image))


def gamma(image: Tensor) -> Row:
    """Inside a window, whose ends MONAI takes from the image's least and greatest value."""
    from monai.transforms import AdjustContrast  # type: ignore[attr-defined]

    clipped = image.clamp(*WINDOW_HU)
    ours = GammaConfig().build("image").apply_image(clipped, GammaParams(0.7, WINDOW_HU))
    return _grey("gamma in a window", ours, AdjustContrast(0.7)(clipped))


def gamma_range(image: Tensor) -> Iterator[Row]:
    """Over the image's own range, inverted, with mean and spread kept: nnU-Net's two gammas."""
    from monai.transforms import AdjustContrast  # type: ignore[attr-defined]

    transform = GammaRangeConfig().build("image")
    for invert in (False, True):
        ours = transform.apply_image(image, GammaRangeParams(1.3, invert, keep_statistics=True))
        theirs = AdjustContrast(1.3, invert_image=invert, retain_stats=True)(image)
        yield _grey(f"gamma of the range{', inverted' if invert else ''}", ours, theirs)


def low_resolution(image: Tensor) -> Iterator[Row]:
    """Nearest voxels, as nnU-Net and MONAI take them, and interpolated back.

    Where the middle of a coarse voxel lies exactly between two own ones, as in 74 of 96, torch takes the lower of them
    when its single precision rounds down; we take the upper one always. The zooms are chosen so that this is rare.
    """
    from monai.transforms import RandSimulateLowResolution  # type: ignore[attr-defined]

    transform = LowResolutionConfig().build("image")
    for zoom in (0.5, 0.7):
        x, y, z = (max(1, int(np.round(n * zoom))) for n in image.shape[1:])
        ours = transform.apply_image(image, LowResolutionParams((x, y, z), sampling="nearest"))
        theirs = RandSimulateLowResolution(prob=1, zoom_range=(zoom, zoom), downsample_mode="nearest-exact")(image)
        yield _grey(f"low resolution, zoom {zoom:g}", ours, theirs)


def blur(image: Tensor) -> Row:
    """Away from the border, beyond which we repeat the outermost voxels and MONAI sees zeros."""
    from monai.transforms import GaussianSmooth  # type: ignore[attr-defined]

    ours = BlurConfig().build("image").apply_image(image, BlurParams(1.2, SPACING_MM))
    theirs = GaussianSmooth(1.2, approx="sampled")(image)
    core = (slice(None), *(slice(6, -6) for _ in range(3)))
    # MONAI cuts the bell off at 4 sigma, we earlier: a weight of about 0.1 % at an edge of 1500 HU
    return Row("blur", "MONAI", float((ours - _plain(theirs))[core].abs().max()), 1.5, "HU")


def factors(image: Tensor) -> Iterator[Row]:
    """Brightness as a factor, and contrast about the mean."""
    from monai.transforms import ScaleIntensity, ScaleIntensityFixedMean  # type: ignore[attr-defined]

    ours = MultiplyConfig().build("image").apply_image(image, MultiplyParams(1.2))
    yield _grey("multiply", ours, ScaleIntensity(minv=None, maxv=None, factor=0.2)(image))
    ours = ContrastMeanConfig().build("image").apply_image(image, ContrastMeanParams(1.2, keep_range=True))
    yield _grey("contrast about the mean", ours,
                ScaleIntensityFixedMean(factor=0.2, preserve_range=True)(image))  # fmt: skip


def flip(image: Tensor) -> Row:
    """Along X; exact."""
    from monai.transforms import Flip  # type: ignore[attr-defined]

    ours = FlipConfig().build("image").apply_image(image, FlipParams((0,)))
    return Row("flip", "MONAI", float((ours - _plain(Flip(0)(image))).abs().max()), 0.0, "HU")


def _grey(name: str, ours: Tensor, theirs: Any) -> Row:
    return Row(name, "MONAI", float((ours - _plain(theirs)).abs().max()), 0.1, "HU")


def _plain(tensor: Any) -> Tensor:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else torch.as_tensor(tensor)
