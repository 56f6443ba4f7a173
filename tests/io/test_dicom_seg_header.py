"""Which CT a segmentation belongs to, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medseg.errors import DicomError, FileReadError
from medseg.io.dicom_seg import is_segmentation, read_segmentation, referenced_series
from tests.support.segmentations import (
    DATA,
    DRAWN,
    SEG,
    FakeSeries,
    WriteSeg,
    ct_series,
    write_seg,
)

__all__ = ["write_seg"]  # a fixture


def test_another_series_or_frame_of_reference_is_refused_without_a_uid() -> None:
    strangers = [FakeSeries("series_b", "2.25.5", ct_series().frame_of_reference_uid),
                 FakeSeries("series_b", ct_series().uid, "2.25.5", ct_series().instance_uids)]  # fmt: skip
    for stranger, fault in zip(strangers, ["made on another series than series_b", "frame of reference"], strict=True):
        with pytest.raises(DicomError, match=fault) as error:
            read_segmentation(SEG / "binary.dcm", series=stranger)
        assert "2.25" not in str(error.value)
        assert "1.2.826" not in str(error.value)


def test_a_segmentation_that_names_no_series_is_refused(write_seg: WriteSeg) -> None:
    def forget(dataset: Any) -> None:
        del dataset.ReferencedSeriesSequence
        for own in dataset.PerFrameFunctionalGroupsSequence:
            del own.DerivationImageSequence

    with pytest.raises(DicomError, match="does not say that it was made on series_00c0ffee"):
        read_segmentation(write_seg(DRAWN, change=forget), series=ct_series())


def test_the_series_that_a_segmentation_names_can_be_asked_for() -> None:
    assert referenced_series(SEG / "binary.dcm") == {ct_series().uid}


def test_segmentations_are_told_from_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")
    assert is_segmentation(SEG / "overlap.dcm")
    assert is_segmentation(SEG / "labelmap.dcm")
    assert not any(map(is_segmentation, [DATA / "small" / "IMG0001.dcm", tmp_path / "text", tmp_path, tmp_path / "no"]))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM " * 50)
    with pytest.raises(DicomError, match="expected a SEG file, got CT"):
        read_segmentation(DATA / "small" / "IMG0001.dcm")
    for path in (tmp_path / "text", tmp_path / "missing", tmp_path):
        with pytest.raises(FileReadError):
            read_segmentation(path)
