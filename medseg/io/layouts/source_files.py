"""Files of a source: what counts as one, and JSON that must say one thing only."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from medseg.errors import FileReadError, InputError
from medseg.io.label_files import is_label_file, label_stem
from medseg.io.layouts.layout import Faults, listed, shown


def visible(folder: Path) -> list[Path]:
    """Entries of a folder by name, without hidden ones (macOS leaves `._name` beside files); none when absent."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    except OSError as error:
        raise FileReadError(f"the folder cannot be read ({error.strerror})", where=folder.name) from error


def volumes(folder: Path) -> list[Path]:
    """The files in a folder whose names are those of images or label maps; a broken link counts as a file."""
    return [path for path in visible(folder) if is_label_file(path) and not path.is_dir()]


def by_stem(folder: Path, root: Path, faults: Faults) -> dict[str, Path]:
    """The volumes of a folder by name without suffix; two of one name are a fault."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in volumes(folder):
        found[label_stem(path)].append(path)
    for paths in found.values():
        if len(paths) > 1:
            faults.add(
                InputError(
                    "several files of one case",
                    where=shown(paths[0], root),
                    expected="one",
                    got=listed([path.name for path in paths]),
                    do="Keep one.",
                )
            )
    return {stem: paths[0] for stem, paths in found.items()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in which no key is given twice.

    Raises:
        FileReadError: missing, unreadable, no JSON object, or a key twice.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except FileNotFoundError:
        raise FileReadError("no such file", where=path.name, do="Check the path.") from None
    except _Twice as error:
        raise FileReadError(f"the key '{error}' is given twice", where=path.name, do="Correct the file.") from None
    except (OSError, ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise FileReadError(f"not valid JSON{place}", where=path.name, do="Correct the file.") from None
    if not isinstance(data, dict):
        raise FileReadError("not a JSON object", where=path.name, expected="{...}", got=type(data).__name__)
    return data


class _Twice(ValueError):
    """A key is given twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise _Twice(key)
        keys.add(key)
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def dataset_json(source: Path, layout: str) -> dict[str, Any]:
    """The `dataset.json` of a source.

    Raises:
        FileReadError: there is none (folders below that have one are named), or it is no JSON object.
    """
    if not (source / "dataset.json").is_file():
        below = [path.parent.name for path in sorted(source.glob("*/dataset.json"))]
        raise FileReadError("no dataset.json", where=source.name, expected=f"a folder of the layout '{layout}'",
                            got=f"folders that have one: {listed(below)}" if below else "",
                            do="Choose one of them." if below else "Check the path.")  # fmt: skip
    return read_json(source / "dataset.json")


def counted_as_told(data: dict[str, Any], found: int, faults: Faults) -> None:
    """Adds a fault when `numTraining` says another number of cases than there are."""
    told = data.get("numTraining")
    if told is not None and told != found:
        faults.add(
            FileReadError(
                "numTraining does not fit the training cases",
                where="dataset.json",
                expected=str(told),
                got=str(found),
                do="Copy the data again, or correct dataset.json.",
            )
        )


def missing(path: Path, root: Path, what: str, do: str = "Copy the data again.") -> FileReadError:
    """The fault of a file that should be there."""
    return FileReadError(f"no such {what} file", where=shown(path, root), do=do)
