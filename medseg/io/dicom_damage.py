"""What a damaged DICOM file makes pydicom, the codecs and the parsers here raise, turned into one readable error."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import BytesLengthException, InvalidDicomError

from medseg.errors import DicomError

BROKEN = (
    OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, RuntimeError, ArithmeticError,
    AssertionError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile, InvalidDicomError,
    BytesLengthException,  # pydicom's, and no ValueError
)  # fmt: skip


class DamageError(ValueError):
    """A fault of a file's bytes, in words that hold no value of the file, so that `reading` may show them."""


@contextmanager
def reading(where: str, what: str) -> Iterator[None]:
    """Turns whatever a damaged file makes its readers raise into one error without any value of the file in it.

    Raises:
        DicomError: anything of `BROKEN` was raised in the block; errors of medseg pass through as they are.
    """
    try:
        yield
    except BROKEN as error:
        do = "The file is damaged or truncated: export it again."
        if isinstance(error, OSError) and error.errno is not None:
            do = "Check the disk and the permissions."
        elif isinstance(error, MemoryError):
            do = "It does not fit into memory, or the file is damaged."
        why = f": {error}" if isinstance(error, DamageError) else f" ({type(error).__name__})"
        raise DicomError(f"{what} cannot be read{why}", where=where, do=do) from error
