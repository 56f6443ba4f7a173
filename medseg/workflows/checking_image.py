"""The image of one case: how it was made, and what can be wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medseg.evaluation.hounsfield import HuProfile, doubt_hu, profile_hu
from medseg.evaluation.surroundings import AirAround, find_air_around
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import dicom, manifest
from medseg.io.manifest import CaseEntry, Dataset
from medseg.io.readers import READERS, find_reader
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
        notes: what the reader says of the image.
        profile: of its values; None when no voxel was read.
        digest: fingerprint of its voxels; "" when they were not read.
    """

    geometry: Geometry
    kernel: str = ""
    tilt_deg: float = 0.0
    invented: tuple[int, ...] = ()
    series: str = ""
    person: str = ""
    notes: tuple[str, ...] = ()
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
    where = _where(dataset, entry)
    if not _is_dicom(entry, where):
        return ImageFacts(manifest.read_image_grid(dataset, entry), invented=entry.image_options.invented)
    series = dicom.choose_series(entry.image, series=entry.image_options.series, where=where)
    return _series_facts(series, dicom.grid_of(series, where=where, **_stacking(entry)))


def read_image(dataset: Dataset, entry: CaseEntry) -> tuple[Volume, ImageFacts]:
    """The image with all its voxels, and the facts; the headers of a series are read once for both.

    Raises:
        FileReadError, GeometryError, VoxelError, DicomError, ConfigError: see `manifest.read_image`.
    """
    where = _where(dataset, entry)
    series = None
    if _is_dicom(entry, where):
        series = dicom.choose_series(entry.image, series=entry.image_options.series, where=where)
        volume = dicom.read_volume_of(series, where=where, **_stacking(entry))
    else:
        volume = manifest.read_image(dataset, entry)
    facts = ImageFacts(volume.geometry, invented=entry.image_options.invented)
    if series is not None and volume.acquisition is not None:
        facts = _series_facts(series, volume.acquisition)
    profile = profile_hu(volume.hu)
    return volume, replace(facts, profile=profile, digest=_digest(volume) if profile.different >= FEWEST_VALUES else "")


def _where(dataset: Dataset, entry: CaseEntry) -> str:
    return f"case {entry.id}, image {dataset.shown(entry.image)}"


def _is_dicom(entry: CaseEntry, where: str) -> bool:
    return find_reader(entry.image, where=where) is READERS["dicom"]


def _stacking(entry: CaseEntry) -> dict[str, Any]:
    return {name: value for name, value in entry.image_options.reading.items() if name in ("tilt", "gaps")}


def _series_facts(series: dicom.Series, acquired: Acquisition) -> ImageFacts:
    return ImageFacts(
        acquired.geometry,
        kernel=series.kernel,
        tilt_deg=acquired.tilt_deg,
        invented=acquired.invented,
        series=series.id,
        person=series.patient_key,
        notes=tuple(series.notes),
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
    for note in facts.notes:
        desk.add("warning", f"{where}: {note}", "Nothing to mend; export each slice once to be rid of this line.")
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
