"""Result files: strict JSON (null, never NaN), CSV with empty cells, and where the numbers came from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import FileReadError
from medseg.files import write_text

JUDGING_PACKAGES = ("medseg", "numpy", "scipy", "nibabel")
BLOCK = 1 << 20


def plain(value: Any) -> Any:
    """The value with Python's own types only; NaN and infinities become None.

    >>> plain({"mean": float("nan"), "ci95": (np.float64(0.25), float("inf"))})
    {'mean': None, 'ci95': [0.25, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def write_json(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes strict JSON; `data` must be plain (see `plain`)."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(
    path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, private: bool = False
) -> None:
    """Writes one line per row under `columns`; None becomes an empty cell, `private` a file for its owner alone."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue(), private=private)


def provenance(files: Mapping[str, Path]) -> dict[str, Any]:
    """Versions of what computed the numbers, and the SHA-256 of every input file by its shown name."""
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in JUDGING_PACKAGES}}
    return {"versions": versions, "input_sha256": {name: sha256(path) for name, path in sorted(files.items())}}


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        FileReadError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise FileReadError(f"cannot be read ({error.strerror})", where=path.name, do="Check the path.") from None
    return digest.hexdigest()
