"""Enhanced and Legacy Converted Enhanced CT (PS3.3 A.38, A.70): every frame of a file as an `Image` of its own.

Geometry and rescale lie in functional groups, of the single frame or shared by all (PS3.3 C.7.6.16); a frame's own
group wins. Frames of several stacks or temporal positions are told apart by `dicom_series`, as separate series.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from medseg.errors import DicomError
from medseg.io.dicom_elements import FUNCTIONAL_GROUPS, open_with_pydicom
from medseg.io.dicom_headers import Header, Image, Numbers, image_of, sound_numbers
from medseg.io.dicom_quiet import quiet_pydicom

SHARED, PER_FRAME = FUNCTIONAL_GROUPS
POSITION, ORIENTATION, MEASURES = "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"
TRANSFORMATION, CONTENT = "PixelValueTransformationSequence", "FrameContentSequence"
FRAME_TYPE, RECONSTRUCTION = "CTImageFrameTypeSequence", "CTReconstructionSequence"


def is_enhanced(header: Header) -> bool:
    """Whether geometry must be looked for frame by frame."""
    return header.elements.functional_groups or int(header.number("NumberOfFrames") or 1) > 1


def images_of(header: Header, folder: str, where: str) -> list[Image]:
    """One `Image` a frame.

    Raises:
        DicomError: several frames without a position each.
        ValueError: a value is not what its element must hold.
    """
    whole = image_of(header, folder)
    if not header.elements.functional_groups:
        raise DicomError("multi-frame DICOM without a position for each frame", where=where,
                         expected="an Enhanced CT with functional groups, or one slice a file",
                         got=f"{whole.pixels.frames} frames",
                         do="Export the series as single slices or as Enhanced CT.")  # fmt: skip
    with quiet_pydicom(), header.elements.item.open() as stream:
        dataset = open_with_pydicom(stream, list(FUNCTIONAL_GROUPS))
        return _images(whole, dataset, where)


def _images(whole: Image, dataset: Any, where: str) -> list[Image]:
    shared = dataset[SHARED].value[0] if SHARED in dataset and dataset[SHARED].value else None
    groups = dataset[PER_FRAME].value if PER_FRAME in dataset else []
    if len(groups) != whole.pixels.frames:
        raise DicomError("multi-frame DICOM without a position for each frame", where=where,
                         expected=f"{whole.pixels.frames} functional groups", got=str(len(groups)),
                         do="Export the series again.")  # fmt: skip
    return [_image(whole, index, _Frame(group, shared)) for index, group in enumerate(groups)]


@dataclasses.dataclass(frozen=True)
class _Frame:
    """The functional groups of one frame."""

    own: Any
    shared: Any

    def get(self, macro: str, name: str) -> Any:
        """The value of an element of a macro; None where neither group holds it."""
        for group in self._items(macro):
            if (value := group.get(name)) not in (None, ""):
                return value
        return None

    def _items(self, macro: str) -> Iterator[Any]:
        for group in (self.own, self.shared):
            if group is not None and group.get(macro):
                yield group.get(macro)[0]

    def numbers(self, macro: str, name: str, count: int) -> Numbers | None:
        value = self.get(macro, name)
        if value is None:
            return None
        return sound_numbers(name, [value] if count == 1 else value, count)

    def words(self, macro: str, name: str) -> tuple[str, ...]:
        value = self.get(macro, name)
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else tuple(str(part) for part in np.atleast_1d(value))


def _image(whole: Image, index: int, frame: _Frame) -> Image:
    """The image of one frame; what no functional group tells comes from the file."""

    def first(numbers: Numbers | None, otherwise: float | None) -> float | None:
        return numbers[0] if numbers else otherwise

    stack = "\\".join(frame.words(CONTENT, "StackID"))
    temporal = "\\".join(frame.words(CONTENT, "TemporalPositionIndex"))
    return dataclasses.replace(
        whole,
        frame=index,
        image_type=tuple(word.upper() for word in frame.words(FRAME_TYPE, "FrameType")) or whole.image_type,
        kernel="\\".join(frame.words(RECONSTRUCTION, "ConvolutionKernel")) or whole.kernel,
        acquisition="\\".join(frame.words(CONTENT, "FrameAcquisitionNumber")) or whole.acquisition,
        temporal="\\".join(part for part in (stack, temporal) if part) or whole.temporal,
        thickness_mm=first(frame.numbers(MEASURES, "SliceThickness", 1), whole.thickness_mm),
        position=frame.numbers(POSITION, "ImagePositionPatient", 3),
        orientation=frame.numbers(ORIENTATION, "ImageOrientationPatient", 6),
        pixel_mm=frame.numbers(MEASURES, "PixelSpacing", 2),
        slope=first(frame.numbers(TRANSFORMATION, "RescaleSlope", 1), whole.slope),
        intercept=first(frame.numbers(TRANSFORMATION, "RescaleIntercept", 1), whole.intercept),
        rescale_type="\\".join(frame.words(TRANSFORMATION, "RescaleType")) or whole.rescale_type,
    )
