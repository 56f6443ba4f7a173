"""Whether a structure set belongs to a CT: the series, the frame of reference and the images that it names.

Coordinates mean nothing outside their frame of reference (PS3.3 C.7.4.1), and two series of one study often share it
although the patient moved. So by default all three must agree; `trust` in `rois.yaml` says what else suffices.
Images are named besides: one that the series lacks is an error, unless it lacks all of them, as after a tool that
crops a series and numbers the images anew; then positions alone decide, which is said.
UIDs are never shown: they appear as the first 8 hex digits of their SHA-256, as in `series_id`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

from medseg.errors import DicomError
from medseg.io.dicom_rtstruct_file import Roi, StructureSet
from medseg.io.roi_suggestions import shown_name
from medseg.io.series_facts import SeriesFacts

Trust = Literal["all", "frame", "images", "positions"]
SHOWN = 3  # identifiers in one message


def check_references(
    structures: StructureSet, rois: Sequence[Roi], series: SeriesFacts, trust: Trust, *, where: str
) -> list[str]:
    """Refuses a structure set that was not drawn on the series, as far as `trust` wants it proved; returns notes.

    Args:
        rois: the regions that are used; those that are ignored may refer to anything.
        trust: as in `RoiRules`.

    Raises:
        DicomError: the series, the frame of reference or an image is not the CT's; naming what would accept it.
    """
    if trust in ("all", "images"):
        _check_series(structures.series_uids, series, where)
    if trust in ("all", "frame"):
        for roi in rois:
            _check_frame(roi, series, where)
    if trust == "frame" or trust == "positions":
        return [f"placed by positions alone (trust: {trust})"]
    named = {uid for roi in rois for contour in roi.contours for uid in contour.instance_uids}
    if trust == "all" and named and named.isdisjoint(series.instance_uids):
        return [f"names none of the images of {series.id}, only the series and its frame: placed by positions"]
    for roi in rois:
        _check_images(roi, series, trust, where)
    return []


def tie(structures: StructureSet, series: SeriesFacts) -> Literal["images", "series", "none"]:
    """What ties the structure set to the series: images, else the series' UID; for finding its CT among several.

    Images come first because several stacks may share one series UID.
    """
    if not structures.instance_uids.isdisjoint(series.instance_uids):
        return "images"
    return "series" if series.uid and series.uid in structures.series_uids else "none"


def hashed(kind: str, uid: str) -> str:
    """A name for a UID that does not give it away.

    >>> hashed("series", "2.25.7")
    'series_0b20d139'
    """
    return f"{kind}_{hashlib.sha256(uid.encode()).hexdigest()[:8]}" if uid else f"no {kind}"


def _check_series(named: Iterable[str], series: SeriesFacts, where: str) -> None:
    if series.uid and series.uid in named:
        return
    others = sorted(hashed("series", uid) for uid in named)
    raise DicomError("the structure set was not drawn on this series", where=where,
                     expected=f"a reference to {series.id}", got=_some(others) or "a reference to no series",
                     do="Choose the CT that it was drawn on (--series); or, if the two lie in one frame of reference, "
                     "accept it with --trust frame.")  # fmt: skip


def _check_frame(roi: Roi, series: SeriesFacts, where: str) -> None:
    if roi.frame_of_reference_uid and roi.frame_of_reference_uid == series.frame_of_reference_uid:
        return
    raise DicomError(f"ROI {shown_name(roi.name)} lies in another frame of reference than {series.id}", where=where,
                     expected=hashed("frame", series.frame_of_reference_uid),
                     got=hashed("frame", roi.frame_of_reference_uid),
                     do="Choose the CT that it was drawn on (--series); or, if its contours name the images of this "
                     "series, accept it with --trust images.")  # fmt: skip


def _check_images(roi: Roi, series: SeriesFacts, trust: Trust, where: str) -> None:
    unknown = {uid for contour in roi.contours for uid in contour.instance_uids if uid not in series.instance_uids}
    if unknown:
        raise DicomError(f"ROI {shown_name(roi.name)} was drawn on images that are not in {series.id}", where=where,
                         expected="images of the series", got=_some(sorted(hashed("image", uid) for uid in unknown)),
                         do="Choose the CT that it was drawn on (--series), or find the missing slices; to go by "
                         "positions alone, accept it with --trust frame.")  # fmt: skip
    if trust == "images" and (without := sum(not contour.instance_uids for contour in roi.contours)):
        raise DicomError(f"ROI {shown_name(roi.name)} does not say on which images it was drawn", where=where,
                         expected="an image for each contour", got=f"{without} of {len(roi.contours)} without",
                         do="Accept it with --trust frame or --trust positions.")  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
