"""HU or not: whole scans and crops pass, what normalising and lost headers make of them does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.evaluation.hounsfield import doubt_hu, profile_hu
from medseg.io import dicom, nifti
from medseg.shapes import FloatArray

TEST_DATA = Path(__file__).parents[1] / "data" / "dicom"


def scan() -> FloatArray:
    """A cylinder of muscle in fat in air with a rod of bone and noise of 15 HU, clipped at -1024 as scanners do."""
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in (64, 64, 20)], indexing="ij")
    radius = np.hypot(x, y)
    hu = np.select([radius < 0.1, radius < 0.6, radius < 0.75], [700.0, 55.0, -100.0], -1000.0)
    return (hu + np.random.default_rng(0).normal(0, 15, hu.shape)).clip(-1024).astype(np.float32)


WINDOW = (-160, 240)
SPOILT: dict[str, Callable[[FloatArray], FloatArray]] = {
    "stored values": lambda hu: hu + 1024,
    "stored values with padding": lambda hu: np.where(hu < -950, -2000, hu + 1024).astype(np.float32),
    "intercept applied twice": lambda hu: hu - 1024,
    "slope applied twice": lambda hu: 2 * (hu + 1024) - 1024,
    "ten times": lambda hu: hu * 10,
    "thousandth": lambda hu: hu / 1000,
    "0 to 1": lambda hu: (hu - hu.min()) / np.ptp(hu),
    "0 to 255": lambda hu: np.rint((hu - hu.min()) / np.ptp(hu) * 255),
    "standard scores": lambda hu: (hu - hu.mean()) / hu.std(),
    "window": lambda hu: hu.clip(*WINDOW),
    "window as grey values": lambda hu: np.rint((hu.clip(*WINDOW) + 160) / 400 * 255),
    "air masked with 0": lambda hu: np.where(hu < -300, 0, hu).astype(np.float32),
    "wrong sign": lambda hu: np.where(hu < 0, hu + 65536, hu).astype(np.float32),
    "constant": lambda hu: np.full_like(hu, 40),
}
CROPS = {
    "whole": np.s_[:],
    "inside muscle and bone": np.s_[20:44, 20:44],
    "skin": np.s_[32:, 28:36],
    "fat and air": np.s_[52:, 30:34],
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_spoilt_values_are_certainly_no_hu(spoilt: str) -> None:
    doubt = doubt_hu(profile_hu(SPOILT[spoilt](scan())))

    assert doubt is not None and doubt.certain
    assert doubt.what.startswith("the values are no HU: ") and doubt.do


@pytest.mark.parametrize("crop", CROPS)
def test_no_crop_of_a_scan_is_an_error(crop: str) -> None:
    doubt = doubt_hu(profile_hu(scan()[CROPS[crop]]))

    assert doubt is None or not doubt.certain


def test_a_crop_without_air_is_told_and_forgiven() -> None:
    doubt = doubt_hu(profile_hu(scan()[CROPS["inside muscle and bone"]]))

    assert doubt is not None and "no voxel is air at about -1000" in doubt.what
    assert "a crop inside the body" in doubt.do


def test_lungs_alone_are_hu() -> None:
    lung = np.random.default_rng(0).normal(-850, 60, (30, 30, 30))
    lung[10:13, 10:13] = 40  # a vessel

    assert doubt_hu(profile_hu(lung.astype(np.float32))) is None


def test_the_shares_of_a_profile_are_those_of_the_voxels() -> None:
    hu = np.repeat(np.float32([-1000, -100, 40, 700, -2000]), 20).reshape(10, 10, 1)

    profile = profile_hu(hu)

    assert (profile.air, profile.fat, profile.body, profile.soft) == pytest.approx((0.2, 0.2, 0.2, 0.4))
    assert (profile.lowest, profile.highest, profile.below_air) == (-2000, 700, 0)  # the lowest value is padding
    assert profile.different == 5


def test_a_large_image_is_sampled_and_its_extremes_are_still_found() -> None:
    hu = np.full((200, 200, 201), 40, np.float32)
    hu[101, 101, 101], hu[3, 3, 3] = 3000, -1000

    profile = profile_hu(hu)

    assert (profile.lowest, profile.highest) == (-1000, 3000)


def test_a_piece_of_a_real_scan_is_hu() -> None:
    doubt = doubt_hu(profile_hu(dicom.read_series(TEST_DATA / "lidc").hu))

    assert doubt is None or not doubt.certain


def test_all_real_scans_are_hu(shared_data: Path) -> None:
    names = ("sts_nifti/*/CT_image.nii.gz", "lidc_0001/nifti/ct.nii.gz", "totalseg/example_ct_sm.nii.gz")
    paths = [path for name in names for path in sorted(shared_data.glob(name))]

    doubts = {path.parent.name: doubt_hu(profile_hu(nifti.read_volume(path).hu)) for path in paths}

    assert len(doubts) == 19
    assert {name: doubt for name, doubt in doubts.items() if doubt} == {}
