"""pydicom without its warnings and log lines: they name elements and show their values, a patient's among them."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
_one_at_a_time = threading.RLock()  # warnings can be silenced for the whole process only


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Within the block, which one thread enters at a time, pydicom says nothing; its log elsewhere stays as it is."""
    logger = logging.getLogger("pydicom")
    if _may_speak not in logger.filters:
        logger.addFilter(_may_speak)
    before = _QUIET.set(True)
    try:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _QUIET.reset(before)


def _may_speak(record: logging.LogRecord) -> bool:
    return not _QUIET.get()
