"""Whether the numbers of an image can be Hounsfield units: air near -1000, a body from 0 to 80.

The judgement is made from shares of the voxels, because crops differ: a slab inside the lungs has little body, a crop
inside the belly no air, the edge of a leg only fat. What no crop of HU looks like: one narrow range (normalised), one
value that fills much of an image without air (cut off to a window, masked), nothing below 0 (grey values), a body near
1000 (stored values whose rescale intercept, usually -1024, was not applied) or below -1000 (applied twice).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.shapes import FloatArray

LOWEST_HU, HIGHEST_HU = -10_000.0, 31_743.0  # the extended CT scale ends at 30 710; padding may reach -3024 or lower
AIR_HU, SOFT_HU, BODY_HU, FAT_HU = (-1100.0, -900.0), (-200.0, 400.0), (0.0, 80.0), (-200.0, -60.0)
LUNG_HU, TISSUE_HU = -950.0, -300.0  # lungs lie between the two; above them fat, soft tissue and bone
INTERCEPT, PADDING_HU = 1024.0, 20.0
LOOKED_AT = 4_000_000  # voxels of the sample: shares of 0.1 % are then known to 0.002 %
# Limits, in brackets the nearest that 21 real scans and 871 random crops of them (a half to a sixth a side) came
LEAST_AIR = 0.0005  # [0.07 in whole scans]
LEAST_BODY = 0.001  # [0.07 in whole scans]
LEAST_LUNG, LEAST_FAT = 0.2, 0.05  # a crop of lung or fat alone may have no body
LEAST_SOFT_OF_TISSUE = 0.3  # [0.53]
MOST_STORED = 0.1  # and next to no fat [bone alone]
MOST_BELOW_AIR = 0.1  # [0]
LEAST_RANGE_HU = 25.0  # from the 0.5th to the 99.5th percentile; noise alone gives more [45]
MOST_OF_ONE_VALUE = 0.1  # in an image without air [0.06]
LEAST_BETWEEN = 0.5  # of the voxels from lung to enhanced vessels, in an image without air [0.53]


@dataclass(frozen=True)
class HuProfile:
    """Shares of an image's voxels by value (0 to 1), and its extremes.

    Args:
        lowest, highest: of all voxels.
        range_hu: from the 0.5th to the 99.5th percentile.
        air, soft, body, fat, tissue, lung, between: shares in the ranges of this module.
        stored_soft, stored_fat: shares where soft tissue and fat lie before 1024 is subtracted.
        below_air: share below -1100 without what lies within 20 of the lowest value, which is padding.
        commonest, commonest_share: the most frequent whole number and its share.
        different: how many different whole numbers there are.
    """

    lowest: float
    highest: float
    range_hu: float
    air: float
    soft: float
    body: float
    fat: float
    tissue: float
    lung: float
    between: float
    stored_soft: float
    stored_fat: float
    below_air: float
    commonest: int
    commonest_share: float
    different: int


@dataclass(frozen=True)
class Doubt:
    """Why values are no HU, or may be none (`certain` False), and how to mend it."""

    certain: bool
    what: str
    do: str


def profile_hu(hu: FloatArray) -> HuProfile:
    """The profile of an image of at least one voxel, all finite; large images are sampled evenly along all axes."""
    step = max(1, int(np.ceil((hu.size / LOOKED_AT) ** (1 / 3))))
    sample = np.asarray(hu[::step, ::step, ::step], dtype=np.float32).ravel()
    lowest, highest = float(hu.min()), float(hu.max())
    low, high = np.percentile(sample, [0.5, 99.5])
    whole = np.rint(np.clip(sample, -4096, 8192)).astype(np.int32) + 4096
    counts = np.bincount(whole)

    def share(low: float, high: float, shift: float = 0.0) -> float:
        return float(np.count_nonzero((sample >= low + shift) & (sample <= high + shift))) / sample.size

    return HuProfile(
        lowest=lowest,
        highest=highest,
        range_hu=float(high - low),
        air=share(*AIR_HU),
        soft=share(*SOFT_HU),
        body=share(*BODY_HU),
        fat=share(*FAT_HU),
        tissue=share(TISSUE_HU, np.inf),
        lung=share(LUNG_HU, TISSUE_HU),
        between=share(LUNG_HU, SOFT_HU[1]),
        stored_soft=share(*SOFT_HU, INTERCEPT),
        stored_fat=share(*FAT_HU, INTERCEPT),
        below_air=float(np.count_nonzero((sample < AIR_HU[0]) & (sample > lowest + PADDING_HU))) / sample.size,
        commonest=int(counts.argmax()) - 4096,
        commonest_share=float(counts.max()) / sample.size,
        different=int(np.count_nonzero(counts)),
    )


def doubt_hu(profile: HuProfile) -> Doubt | None:
    """Why the values are no HU, or None when nothing speaks against it.

    Example:
        >>> doubt_hu(profile_hu(np.linspace(0, 1, 1000).reshape(10, 10, 10))).what
        'the values are no HU: 99 % of them span only 0.99 (lowest 0, highest 1)'
    """
    doubt = _doubt_scale(profile)
    if doubt is None:
        doubt = _doubt_body(profile) if profile.air >= LEAST_AIR else _doubt_without_air(profile)
    if doubt is None:
        return None
    lead = "the values are no HU: " if doubt.certain else ""
    return Doubt(
        doubt.certain, f"{lead}{doubt.what} (lowest {profile.lowest:.4g}, highest {profile.highest:.4g})", doubt.do
    )


def _doubt_scale(profile: HuProfile) -> Doubt | None:
    if profile.lowest < LOWEST_HU or profile.highest > HIGHEST_HU:
        return Doubt(True, "they lie outside any CT scale", "Check the type and the byte order; make padding -1000.")
    if profile.range_hu < LEAST_RANGE_HU:
        return Doubt(True, f"99 % of them span only {profile.range_hu:.2g}",
                     "Give the image in HU, not normalised; medseg normalises by itself.")  # fmt: skip
    if profile.stored_soft > MOST_STORED and profile.fat < 0.1 * profile.stored_fat:
        what = f"{_percent(profile.stored_soft)} of the voxels lie where a body lies before 1024 is subtracted"
        return Doubt(True, what, "Apply the rescale slope and intercept (usually -1024).")
    if profile.below_air > MOST_BELOW_AIR:
        return Doubt(True, f"{_percent(profile.below_air)} of the voxels lie below air (-1100)",
                     "Check the rescale slope, and that the intercept was not applied twice.")  # fmt: skip
    return None


def _doubt_body(profile: HuProfile) -> Doubt | None:
    what = f"there is air at about -1000, but only {_percent(profile.body)} of the voxels are a body at 0 to 80"
    if profile.soft < LEAST_SOFT_OF_TISSUE * profile.tissue:
        return Doubt(True, what, "Check the rescale slope and intercept.")
    if profile.body < LEAST_BODY and profile.lung < LEAST_LUNG and profile.fat < LEAST_FAT:
        mend = "Check the rescale slope and intercept, and that the patient is in the image."
        return Doubt(profile.soft < LEAST_BODY, what, mend)
    return None


def _doubt_without_air(profile: HuProfile) -> Doubt:
    if profile.lowest >= 0:
        return Doubt(True, "no air at about -1000, and none is below 0", "Give the image in HU, not in grey values.")
    if profile.commonest_share > MOST_OF_ONE_VALUE:
        what = f"no air at about -1000, and {_percent(profile.commonest_share)} are {profile.commonest}"
        return Doubt(True, what, "Give the image in HU, not cut off to a window; fill what was masked with -1000.")
    if profile.between < LEAST_BETWEEN:
        what = f"no air at about -1000, and only {_percent(profile.body)} are a body at 0 to 80"
        return Doubt(True, what, "Check the rescale slope and intercept, and that nothing was normalised.")
    what = f"no voxel is air at about -1000; {_percent(profile.body)} are a body at 0 to 80"
    return Doubt(False, what, "Nothing to mend if the image is a crop inside the body; else check slope and intercept.")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
