"""What labels must agree with: the few facts of a CT series that a segmentation or a reading refers to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class SeriesFacts(Protocol):
    """Any object with these, such as the series that `dicom.list_series` gives; the UIDs are never to be shown."""

    @property
    def id(self) -> str:
        """The name for messages: `series_` and 8 hex digits."""
        ...

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        ...

    @property
    def frame_of_reference_uid(self) -> str: ...

    @property
    def instance_uids(self) -> Mapping[str, int]:
        """SOPInstanceUID to the index of the acquired slice along Z."""
        ...
