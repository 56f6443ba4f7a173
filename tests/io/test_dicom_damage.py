"""Whatever a damaged file makes its readers raise is one error, which shows nothing of the file."""

from __future__ import annotations

import zlib

import pytest
from pydicom.errors import BytesLengthException, InvalidDicomError

from medseg.errors import DicomError, LabelError
from medseg.io.dicom_damage import DamageError, reading


@pytest.mark.parametrize(
    "kind", [BytesLengthException, InvalidDicomError, KeyError, RecursionError, zlib.error, EOFError]
)
def test_what_libraries_raise_is_told_by_its_kind_alone(kind: type[Exception]) -> None:
    with pytest.raises(DicomError) as error, reading("series_1", "a header"):
        raise kind("Doe^Jane")

    assert str(error.value) == (f"series_1: a header cannot be read ({kind.__name__}). "
                                "The file is damaged or truncated: export it again.")  # fmt: skip


def test_our_own_words_are_told() -> None:
    with (
        pytest.raises(DicomError, match=r"the pixels cannot be read: they are cut off\. The file is damaged"),
        reading("series_1", "the pixels"),
    ):
        raise DamageError("they are cut off")


def test_a_disk_or_memory_that_fails_is_not_called_damage() -> None:
    with pytest.raises(DicomError, match="Check the disk and the permissions"), reading("", "a header"):
        raise PermissionError(13, "denied")
    with pytest.raises(DicomError, match="It does not fit into memory"), reading("", "the pixels"):
        raise MemoryError


def test_errors_of_medseg_and_of_the_program_pass_through() -> None:
    for fault in (LabelError("unknown"), KeyboardInterrupt()):
        with pytest.raises(type(fault)), reading("", "a header"):
            raise fault
