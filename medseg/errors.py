"""Everything that medseg raises on purpose.

```
MedsegError                 one readable line: where, what, expected, got, what to do
├── UsageError              the call itself is wrong (arguments, options that exclude each other)
│   ├── ConfigError         a recipe or dataset.yaml: file, line, key
│   └── OutputExistsError   the output folder already holds a result
├── InputError              a file or its content
│   ├── FileReadError       missing, truncated, not the format it claims
│   ├── GeometryError       grids that should be equal are not; shapes, spacings, orientations named
│   ├── LabelError          label values, names or raters
│   ├── VoxelError          NaN or infinite voxels
│   └── DicomError          a series that is no even, upright volume
├── CheckpointError         corrupted, or made for other labels
├── WriteError              the disk refused; the old file is untouched
├── WorkerError             a worker died over an item, or stopped for a reason that nobody foresaw
└── TrainingError           non-finite loss and the like
```

The command line prints `str(error)` and leaves with `error.exit_code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MedsegError(Exception):
    """An expected failure, told in one line.

    Args:
        what: the fault, as a phrase.
        where: file, case, rater or key at which it was met; never a patient's name or a folder outside the data set.
        expected: what would have been right.
        got: what was found.
        do: the next step that the user can take.

    Example:
        >>> print(MedsegError("wrong spacing", where="case c001", expected="1 mm", got="2 mm", do="Resample it."))
        case c001: wrong spacing; expected 1 mm, got 2 mm. Resample it.
    """

    exit_code = 2
    outcomes: Sequence[Any] = ()  # of all items, where some of many were set aside; see `fleet_outcomes`

    def __init__(self, what: str, *, where: str = "", expected: str = "", got: str = "", do: str = "") -> None:
        self.what, self.where, self.expected, self.got, self.do = what, where, expected, got, do
        facts = ", ".join(f"{word} {text}" for word, text in (("expected", expected), ("got", got)) if text)
        line = (f"{where}: " if where else "") + what + (f"; {facts}" if facts else "")
        super().__init__(line + (f". {do}" if do else ""))


class UsageError(MedsegError):
    """The call is wrong: an argument, or options that exclude each other."""


class ConfigError(UsageError):
    """A YAML file or an override that does not fit the schema; names file, line and key."""


class OutputExistsError(UsageError):
    """The output folder already holds a result."""


class InputError(MedsegError):
    """A file that was handed over, or its content, is not what it must be."""


class FileReadError(InputError):
    """A file is missing, truncated or not of the format it claims."""


class GeometryError(InputError):
    """Two grids that must be equal are not, or a grid is no grid."""


class LabelError(InputError):
    """A label value, label name or rater that does not fit."""


class VoxelError(InputError):
    """NaN or infinite voxels."""


class DicomError(InputError):
    """A DICOM series that is no even, upright CT volume."""


class CheckpointError(MedsegError):
    """A checkpoint is corrupted or was made for other labels."""


class WriteError(MedsegError):
    """Writing failed (disk full, no permission); the file that was there is untouched."""

    exit_code = 1


class WorkerError(MedsegError):
    """A worker process or thread died over an item, or stopped for a reason that nobody foresaw."""

    exit_code = 1


class TrainingError(MedsegError):
    """Training cannot go on, for example because the loss is not finite."""

    exit_code = 1
