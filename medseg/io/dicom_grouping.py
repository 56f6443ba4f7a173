"""Which images are one stack: by SeriesInstanceUID, and by what differs truly where that is empty or lies.

Rules, in order:
1. Patient and SeriesInstanceUID. Without the UID: patient, study and frame of reference, or the folder without any.
2. Direction (cosines differing by more than 1e-3), size, pixel spacing (1e-5 mm) and kernel make two stacks as soon
   as one of them is long enough for a volume; otherwise the mixture is refused when it is read. Two frames of
   reference do when each is long enough.
3. Image type, acquisition number, temporal position or stack, cardiac phase, tube voltage and slice thickness do only
   where images lie at the same places, and only when the split takes them apart: one helical scan may well number its
   acquisitions slice by slice, and one head scan may hold ORIGINAL\\PRIMARY\\AXIAL beside ...\\AXIAL\\ADD.
Images that then still share a place are compared when the series is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from medseg.io.dicom_headers import Image
from medseg.io.dicom_stack import MIN_SLICES, SAME_POSITION_MM
from medseg.shapes import FloatArray, IntArray

DIRECTION_TOLERANCE, PIXEL_TOLERANCE_MM = 1e-3, 1e-5
MAX_KINDS = 100  # of directions or pixel spacings in one group; more is no study, and would take for ever to compare
Key = Callable[[Image], Hashable]


def stacks(images: Iterable[Image]) -> list[list[Image]]:
    """The images of each stack, in the order in which the first of each was met."""
    found = _parts(images, _identity)
    for split in (_by_direction, _by_size, _by_spacing, _by_kernel):
        found = [part for group in found for part in _if_long_enough(split(group), group, max)]
    found = [part for group in found for part in _if_long_enough(_by_frame_of_reference(group), group, min)]
    return [part for group in found for part in _by_place(group)]


def _if_long_enough(parts: list[list[Image]], group: list[Image], which: Callable[..., int]) -> list[list[Image]]:
    """The parts when the longest (`max`) or each (`min`) of them may be a volume, else the group as it was."""
    return parts if len(parts) > 1 and which(map(_place_count, parts)) >= MIN_SLICES else [group]


def in_order(images: Sequence[Image]) -> tuple[list[Image], IntArray]:
    """The images bottom up along their normal, and for each the number of its place from 0.

    Images without a place come last, at a place of their own.
    """
    placed = [image for image in images if image.position and image.orientation]
    others = [image for image in images if not (image.position and image.orientation)]
    if not placed:
        return others, np.arange(len(others), dtype=np.int64)
    heights = _heights(placed)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order], prepend=heights[order[0]]) > SAME_POSITION_MM
    places = np.cumsum(steps, dtype=np.int64)
    more = places[-1] + 1 + np.arange(len(others))
    return [placed[int(index)] for index in order] + others, np.concatenate([places, more])


def _heights(images: Sequence[Image]) -> FloatArray:
    """(N,) mm along the normal of the first image."""
    first = np.array(images[0].orientation)
    return np.array([image.position for image in images]) @ np.cross(first[:3], first[3:])


def _identity(image: Image) -> Hashable:
    facts = image.facts
    if facts.series_uid:
        return facts.patient, facts.series_uid
    return facts.patient, "", facts.study_uid, image.frame_of_reference or facts.folder


def _parts(images: Iterable[Image], key: Key) -> list[list[Image]]:
    found: dict[Hashable, list[Image]] = {}
    for image in images:
        found.setdefault(key(image), []).append(image)
    return list(found.values())


def _clusters(images: list[Image], value: Callable[[Image], Hashable], tolerance: float) -> list[list[Image]]:
    """Images whose numbers agree; those without numbers stay with the largest part, to be refused with it.

    All together where they differ in too many ways.
    """
    counts = Counter(value(image) for image in images)
    kinds: list[FloatArray] = []
    kind_of: dict[Hashable, int] = {}
    for numbers in (number for number, _ in counts.most_common() if number is not None):
        vector = np.array(numbers)
        near = [index for index, kind in enumerate(kinds) if np.abs(vector - kind).max() <= tolerance]
        if not near:
            kinds.append(vector)
            if len(kinds) > MAX_KINDS:
                return [images]
        kind_of[numbers] = near[0] if near else len(kinds) - 1
    return _parts(images, lambda image: kind_of.get(value(image), 0))


def _by_direction(images: list[Image]) -> list[list[Image]]:
    return _clusters(images, lambda image: image.orientation, DIRECTION_TOLERANCE)


def _by_size(images: list[Image]) -> list[list[Image]]:
    return _parts(images, lambda image: image.pixels.shape)


def _by_spacing(images: list[Image]) -> list[list[Image]]:
    return _clusters(images, lambda image: image.pixel_mm, PIXEL_TOLERANCE_MM)


def _by_kernel(images: list[Image]) -> list[list[Image]]:
    kernels = Counter(image.kernel.upper() for image in images if image.kernel)
    commonest = kernels.most_common(1)[0][0] if kernels else ""
    return _parts(images, lambda image: image.kernel.upper() or commonest)


def _by_frame_of_reference(images: list[Image]) -> list[list[Image]]:
    return _parts(images, lambda image: image.frame_of_reference)


def _by_place(images: list[Image]) -> list[list[Image]]:
    """Rule 3: apart where images lie at the same places and a tag takes them apart."""
    crowd = _crowd(images)
    if not crowd:
        return [images]
    for key, smallest in SOFT_KEYS:
        parts = _parts(images, key)
        if len(parts) > 1 and sum(map(_crowd, parts)) < crowd and min(map(_place_count, parts)) >= smallest:
            return [finest for part in parts for finest in _by_place(part)]
    return [images]


def _crowd(images: list[Image]) -> int:
    """How many images lie at a place that another one holds; copies of one instance do not count."""
    ordered, places = in_order(images)
    distinct = {(int(place), image.facts.sop_uid or index, image.frame)
                for index, (image, place) in enumerate(zip(ordered, places, strict=True))}  # fmt: skip
    return len(distinct) - _place_count(images)


def _place_count(images: list[Image]) -> int:
    return len(set(in_order(images)[1].tolist()))


SOFT_KEYS: tuple[tuple[Key, int], ...] = (  # what may take images apart, and the fewest places of a part
    (lambda image: image.image_type, 1),
    (lambda image: image.temporal, 1),
    (lambda image: image.facts.cardiac_phase, MIN_SLICES),
    (lambda image: image.facts.kvp, MIN_SLICES),
    (lambda image: image.thickness_mm, MIN_SLICES),
    (lambda image: image.acquisition, MIN_SLICES),
)
