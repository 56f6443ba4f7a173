"""Stored values of an image without the volume around them."""

from __future__ import annotations

from medseg.io.dicom_codecs import decode
from medseg.io.dicom_frames import find_frames
from medseg.io.dicom_headers import Image
from medseg.shapes import IntArray


def stored_values(image: Image) -> IntArray:
    """(rows, columns) of one image, before rescale and padding."""
    return decode(find_frames(image.item, image.pixels).read(image.frame), image.pixels, "an image").values
