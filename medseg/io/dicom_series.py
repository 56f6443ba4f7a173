"""The CT series in a folder tree, zip, DICOMDIR or file, told by their headers alone.

A series is shown by its `id` (a hash of the UID) and by words of the DICOM standard, never by SeriesDescription, dates
or UIDs: `Series.line` and `Scan.left_out` are safe to print.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from medseg.io.dicom_grouping import in_order, stacks
from medseg.io.dicom_headers import CT_CLASSES, DIRECTORY_KIND, Image
from medseg.shapes import Triple

KERNEL = re.compile(r"[A-Za-z0-9+\-_.]{1,16}")  # a part of ConvolutionKernel: Br40d; several words may be a name
WORD = re.compile(r"\w+")
MAX_TOLD = 20  # kinds of files in a message
BODY_PARTS = frozenset(  # words of PS3.16 annex L; anything else that stands there may be free text
    WORD.findall(
        "ABDOMEN ABDOMENPELVIS ANKLE ARM BRAIN BREAST CAP CHEST CHESTABDOMEN CHESTABDPELVIS CHESTABDOMENPELVIS "
        "CLAVICLE COLON CSPINE ELBOW EXTREMITY FOOT HAND HEAD HEADNECK HEART HIP JAW KIDNEY KNEE LEG LIVER LSPINE "
        "LUNG NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV ORBIT PANCREAS PELVIS SHOULDER SINUS SKULL SPINE "
        "SPLEEN SSPINE TBONE THIGH THORAX TLSPINE TSPINE WHOLEBODY WRIST"
    )
)
TYPE_WORDS = frozenset(
    WORD.findall(
        "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL MPR REFORMATTED AVERAGE MAX MIN MIP MINIP RESAMPLED VOLUME HELICAL "
        "MONO VMI ADD PERFUSION PROJECTION"
    )
)


@dataclass(frozen=True, eq=False)
class Series:
    """One stack of CT slices whose pixels have not been read.

    Args:
        id: `series_` and 8 hex digits of a hash of the UID, with a number behind when one UID holds several stacks.
        uid, frame_of_reference_uid, study_uid, patient_key: identifiers to compare in memory, never to show;
            patient_key is PatientID. Empty where the file has none.
        images: bottom up along the normal.
        places: for each image the index of its slice along the normal.
        notes: sentences for the user about this series: what was dropped when it was read.
    """

    id: str
    uid: str
    frame_of_reference_uid: str
    study_uid: str
    patient_key: str
    images: tuple[Image, ...]
    places: tuple[int, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pixels along X and Y, and the number of slices."""
        rows, columns = self.images[0].pixels.shape
        return columns, rows, self.places[-1] + 1

    @cached_property
    def spacing_mm(self) -> Triple:
        """Pixel spacing along X and Y and the median distance of the slices; 0 where the headers do not tell."""
        row, column = self.images[0].pixel_mm or (0.0, 0.0)
        heights = self.heights_mm
        gaps = np.diff(heights)
        return column, row, float(np.median(gaps)) if len(gaps) else 0.0

    @property
    def heights_mm(self) -> tuple[float, ...]:
        """Position of each slice along the normal in mm; empty where positions are missing."""
        first = self.images[0]
        if not first.orientation or any(image.position is None for image in self.images):
            return ()
        normal = np.cross(first.orientation[:3], first.orientation[3:])
        heights: dict[int, float] = {}
        for place, image in zip(self.places, self.images, strict=True):
            heights.setdefault(place, float(np.array(image.position) @ normal))
        return tuple(heights.values())

    @property
    def kernel(self) -> str:
        """Reconstruction kernel; empty where it is not told or no name of one."""
        parts = self.images[0].kernel.split("\\")
        return "/".join(parts) if all(KERNEL.fullmatch(part) for part in parts) else ""

    @property
    def thickness_mm(self) -> float | None:
        """SliceThickness of the first slice; not the distance of the slices."""
        return self.images[0].thickness_mm

    @property
    def orientation(self) -> str:
        """The plane of the slices: axial, coronal, sagittal, or oblique when more than 30 degrees off each."""
        cosines = self.images[0].orientation
        if not cosines:
            return ""
        normal = np.abs(np.cross(cosines[:3], cosines[3:]))
        if normal.max() <= np.cos(np.pi / 6):
            return "oblique"
        return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]

    @property
    def description(self) -> str:
        """Plane, body part, image type and slice thickness in words of the standard, without patient data."""
        first = self.images[0]
        body_part = first.facts.body_part.replace(" ", "").upper()
        words = [self.orientation, body_part.lower() if body_part in BODY_PARTS else ""]
        words += [word.lower() for word in first.image_type if word in TYPE_WORDS and word.lower() not in words]
        thickness = "" if self.thickness_mm is None else f"{self.thickness_mm:g} mm thick"
        return ", ".join(part for part in (" ".join(word for word in words if word), thickness) if part)

    @property
    def line(self) -> str:
        """One line that tells the series from others, for lists.

        Such as `series_0b20d139 (512 x 512 x 250, 0.7 x 0.7 x 1.25 mm, kernel STANDARD, axial chest original)`.
        """
        size, spacing = (" x ".join(f"{n:.4g}" if n else "?" for n in numbers)
                         for numbers in (self.shape, self.spacing_mm))  # fmt: skip
        kernel = f"kernel {self.kernel}" if self.kernel else ""
        return f"{self.id} ({', '.join(part for part in (size, spacing + ' mm', kernel, self.description) if part)})"

    @cached_property
    def frames(self) -> Mapping[tuple[str, int], int]:
        """Slice index along Z of every (SOPInstanceUID, frame number from 1)."""
        return {(image.facts.sop_uid, image.frame + 1): place
                for place, image in zip(self.places, self.images, strict=True) if image.facts.sop_uid}  # fmt: skip

    @property
    def instance_uids(self) -> Mapping[str, int]:
        """Slice index along Z of every SOPInstanceUID; of a multi-frame file the lowest of its slices."""
        return self._lowest_places

    @cached_property
    def _lowest_places(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (uid, _), place in self.frames.items():
            found[uid] = min(place, found.get(uid, place))
        return found

    @property
    def modalities(self) -> Counter[str]:
        """Images of each modality; a missing one is CT where SOP class or RescaleType tell."""
        return Counter(_modality(image) for image in self.images)

    @property
    def is_ct(self) -> bool:
        """Whether any image is CT: a mixed series is one, and refused when it is read."""
        return "CT" in self.modalities


@dataclass(frozen=True)
class Scan:
    """What lies in a folder tree, zip, DICOMDIR or file.

    Args:
        series: the CT series.
        others: series of images of other modalities.
        passed_over: how many files of each other kind: localiser, dose report, capture, RTSTRUCT, not DICOM ...
    """

    series: tuple[Series, ...]
    others: tuple[Series, ...]
    passed_over: Counter[str]

    @property
    def left_out(self) -> str:
        """`2 localiser, 1 dose report, 30 MR image`, the commonest first; empty when nothing was left out."""
        counts = Counter(self.passed_over)
        for other in self.others:
            counts.update({f"{modality} image": count for modality, count in other.modalities.items()})
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        more = f" and {len(ordered) - MAX_TOLD} other kinds" if len(ordered) > MAX_TOLD else ""
        return ", ".join(f"{count} {name}" for name, count in ordered[:MAX_TOLD]) + more


def build_scan(images: Sequence[Image], passed_over: Counter[tuple[str, str]]) -> Scan:
    """The series that the images make, the largest first.

    Args:
        passed_over: how many files there are of each kind and SeriesInstanceUID; a series is told in its notes what
            bears its UID but is no image of it.
    """
    found = _numbered([_series(group) for group in stacks(images)])
    of_uid: dict[str, list[Series]] = {}
    for one in found:
        of_uid.setdefault(one.uid, []).append(one)
    kinds = Counter[str]()
    for (kind, uid), count in sorted(passed_over.items()):
        kinds[kind] += count
        for one in of_uid.get(uid, []) if uid else []:
            one.notes.append(f"{count} {kind}{'s' if count > 1 else ''} of the same series left out")
    del kinds[DIRECTORY_KIND]
    ct, others = tuple(one for one in found if one.is_ct), tuple(one for one in found if not one.is_ct)
    return Scan(ct, others, kinds)


def _series(group: list[Image]) -> Series:
    ordered, places = in_order(group)
    facts = ordered[0].facts
    return Series(_id(ordered), facts.series_uid, ordered[0].frame_of_reference, facts.study_uid, facts.patient,
                  tuple(ordered), tuple(int(place) for place in places))  # fmt: skip


def _id(images: Sequence[Image]) -> str:
    """`series_` and 8 hex digits of the SHA-256 of SeriesInstanceUID, or of all that the slices have without one."""
    uid = images[0].facts.series_uid
    if not uid:  # anonymised too eagerly; two such series must still get two names
        uid = "\n".join(sorted(f"{i.facts.sop_uid} {i.frame_of_reference} {i.position} {i.kernel}" for i in images))
    return f"series_{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def _numbered(series: list[Series]) -> list[Series]:
    """Largest first; stacks of one UID get numbers in an order that does not depend on the files' names."""
    ordered = sorted(series, key=lambda one: (-len(one.places), one.id, one.line, one.images[0].facts.sop_uid))
    counts, met = Counter(one.id for one in ordered), Counter[str]()
    out: list[Series] = []
    for one in ordered:
        met[one.id] += 1
        out.append(replace(one, id=f"{one.id}_{met[one.id]}") if counts[one.id] > 1 else one)
    return out


def _modality(image: Image) -> str:
    facts = image.facts
    if not facts.modality and (facts.sop_class in CT_CLASSES or image.rescale_type.upper() == "HU"):
        return "CT"
    return facts.modality if re.fullmatch("[A-Z]{2,12}", facts.modality) else "none"
