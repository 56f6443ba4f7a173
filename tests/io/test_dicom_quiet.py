"""pydicom's log and warnings stay inside the block, and are there again behind it."""

from __future__ import annotations

import logging
import warnings

import pytest

from medseg.io.dicom_quiet import quiet_pydicom


def test_pydicom_is_silent_in_the_block_and_speaks_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_pydicom():
        logging.getLogger("pydicom").warning("Doe^Jane")
        warnings.warn("Doe^Jane", stacklevel=1)
    assert caplog.text == ""
    logging.getLogger("pydicom").warning("another reader")
    assert "another reader" in caplog.text


def test_the_silence_ends_when_the_block_fails(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="damaged"), quiet_pydicom():
        raise ValueError("damaged")
    logging.getLogger("pydicom").warning("another reader")
    assert "another reader" in caplog.text
