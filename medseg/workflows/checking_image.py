"""The image of one case: how it was made, and what can be wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.hounsfield import HuProfile, doubt_hu, profile_hu
from medseg.evaluation.surroundings import AirAround, find_air_around
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import manifest
from medseg.io.manifest import CaseEntry, Dataset
from medseg.workflows.checking_desk import CaseDesk

FEWEST_SLICES = 10
FEWEST_VALUES = 32  # two images of fewer different values are drawings, and may be equal without being copies


@dataclass(frozen=True)
class ImageFacts:
    """The grid of an image and how it was made.

    Args:
        kernel: reconstruction kernel; "" where the file does not name it.
        tilt_deg: gantry tilt.
        invented: slices (along Z of the grid) that the scanner did not make.
        series: name of a DICOM series, equal for two copies of it; "" for other files.
        person: what the file says of who was scanned; only ever compared, never shown or written.
        profile: of its values; None when no voxel was read.
        digest: fingerprint of its voxels; "" when they were not read.
    """

    geometry: Geometry
    kernel: str = ""
    tilt_deg: float = 0.0
    invented: tuple[int, ...] = ()
    series: str = ""
    person: str = ""
    profile: HuProfile | None = None
    digest: str = ""

    @property
    def hu_range(self) -> tuple[float, float] | None:
        return None if self.profile is None else (self.profile.lowest, self.profile.highest)


def read_image_facts(dataset: Dataset, entry: CaseEntry) -> ImageFacts:
    """By the headers alone.

    Raises:
        FileReadError, GeometryError, DicomError, ConfigError: see `manifest.read_image_grid`; the case is named.
    """
    return ImageFacts(manifest.read_image_grid(dataset, entry), invented=entry.image_options.invented)


def image_facts(entry: CaseEntry, volume: Volume) -> ImageFacts:
    """The same of an image that has been read."""
    profile = profile_hu(volume.hu)
    digest = _digest(volume) if profile.different >= FEWEST_VALUES else ""
    acquired = volume.acquisition
    if acquired is None:
        return ImageFacts(volume.geometry, invented=entry.image_options.invented, profile=profile, digest=digest)
    return ImageFacts(
        volume.geometry, tilt_deg=acquired.tilt_deg, invented=acquired.invented, profile=profile, digest=digest
    )


def check_image(desk: CaseDesk, facts: ImageFacts | None) -> None:
    if facts is None:
        return
    where = f"case {desk.entry.id}"
    if min(facts.geometry.shape) < FEWEST_SLICES:
        shape = " x ".join(map(str, facts.geometry.shape))
        desk.add("warning", f"{where}: few slices: the image has {shape} voxels, an axis of fewer than {FEWEST_SLICES}",
                 "Check that the whole series was exported; so thin a slab shows no organ.")  # fmt: skip
    if facts.invented:
        desk.add("warning", f"{where}: {listed(facts.invented)} of {facts.geometry.shape[2]} were invented between "
                 "acquired ones", "Find the missing slices, or keep the case out of the test split.")  # fmt: skip
    if facts.tilt_deg:
        desk.add("warning", f"{where}: the gantry was tilted by {facts.tilt_deg:.3g} degrees",
                 "Nothing to mend when the labels belong to this grid; `tilt:` under `image:` chooses between an "
                 "upright grid (resample) and the slices as they are (keep).")  # fmt: skip


def check_hu(desk: CaseDesk, volume: Volume, facts: ImageFacts) -> AirAround | None:
    """The air around the body, or None when the values are no HU and nothing can be said about it."""
    doubt = None if facts.profile is None else doubt_hu(facts.profile)
    if doubt is not None:
        desk.add("error" if doubt.certain else "warning", f"case {desk.entry.id}: {doubt.what}", doubt.do)
    return None if doubt is not None and doubt.certain else find_air_around(volume.hu, volume.geometry)


def listed(slices: Sequence[int]) -> str:
    """The slices in a few words."""
    shown = ", ".join(map(str, slices[:8])) + (" ..." if len(slices) > 8 else "")
    return f"{len(slices)} slice{'' if len(slices) == 1 else 's'} (Z = {shown})"


def _digest(volume: Volume) -> str:
    """A fingerprint of the voxels, the same in whatever file and memory order they came."""
    state = hashlib.blake2b(repr(volume.hu.shape).encode(), digest_size=16)
    for level in range(volume.hu.shape[2]):
        state.update(np.ascontiguousarray(volume.hu[:, :, level].T).data)
    return state.hexdigest()
