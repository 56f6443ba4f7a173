"""Which file of a folder is whose: cases by file names, models by folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from medseg.errors import FileReadError, UsageError
from medseg.io.name_patterns import LONGEST_NAME, checked_pattern
from medseg.workflows.readings_case import listed
from medseg.workflows.readings_formats import Place, entries, find_place, holds_reading, reading_stem
from medseg.workflows.readings_soft import RESERVED

FIELD = "{case}"
GROUP = "case"
Models: TypeAlias = str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None


@dataclass(frozen=True)
class CasePattern:
    """What of a file name is the case.

    Args:
        text: as the user gave it, for messages.
        expression: matched with the whole file name, or with the name without its suffix.
        bounded: only names up to 64 characters may be tried: the expression is somebody's own.
    """

    text: str
    expression: re.Pattern[str]
    bounded: bool

    def case(self, path: Path) -> str | None:
        """The case of a file, or None when the name does not fit."""
        for name in (reading_stem(path), path.name):  # `pred_{case}` must not take the suffix into the case
            if self.bounded and len(name) > LONGEST_NAME:
                raise UsageError(f"a file name of more than {LONGEST_NAME} characters", where="--match",
                                 do=f"Give a pattern such as {FIELD}_seg.nii.gz, which takes any length.")  # fmt: skip
            if found := self.expression.fullmatch(name):
                return found[GROUP] or None
        return None


def case_pattern(text: str | None, *, where: str = "--match") -> CasePattern | None:
    """The pattern of a text: `{case}_seg.nii.gz`, or a regular expression such as `(?P<case>.+)_pred`.

    Raises:
        UsageError: neither of the two, or an expression that can take for ever.

    >>> case_pattern("{case}_seg.nii.gz").case(Path("c1_seg.nii.gz"))
    'c1'
    """
    if text is None:
        return None
    if text.count(FIELD) == 1 and f"(?P<{GROUP}>" not in text:
        before, after = text.split(FIELD)
        expression = f"{re.escape(before)}(?P<{GROUP}>.+){re.escape(after)}"
        return CasePattern(text, re.compile(expression, re.IGNORECASE), bounded=False)
    try:
        expression = re.compile(checked_pattern(text), re.IGNORECASE)
    except ValueError as error:
        raise UsageError(str(error), where=where, expected=f"{FIELD}_seg.nii.gz or (?P<{GROUP}>.+)_pred") from None
    if GROUP not in expression.groupindex:
        raise UsageError("the pattern does not say what the case is", where=where, got=text[:80],
                         expected=f"{FIELD}_seg.nii.gz or (?P<{GROUP}>.+)_pred")  # fmt: skip
    return CasePattern(text, expression, bounded=True)


@dataclass(frozen=True)
class CaseFiles:
    """The readings of a folder by their cases, and the names that the pattern passed over."""

    places: Mapping[str, Place]
    passed_over: tuple[str, ...] = ()


def find_case_files(folder: Path, *, name: str, pattern: CasePattern | None = None, strict: bool = False) -> CaseFiles:
    """Every file, or folder of files, that holds a reading; hidden ones, `probabilities` and `samples` do not count.

    Args:
        name: whose folder it is, for messages.
        strict: a folder that holds no reading is refused.

    Raises:
        FileReadError: the folder is missing, or an empty one in it where `strict`; see `find_place`.
        UsageError: two readings of one case.
    """
    if not folder.is_dir():
        raise FileReadError("no such folder", where=name, expected="<case>.nii.gz in it", do="Check the path.")
    found: dict[str, Path] = {}
    passed_over: list[str] = []
    for path in entries(folder, where=name):
        if path.is_dir() and path.name in RESERVED:
            continue
        if not holds_reading(path):
            if strict and path.is_dir():
                raise FileReadError("an empty folder", where=f"{name}/{path.name}", do="Take it away, or fill it.",
                                    expected="a file for each structure, a SEG or an RTSTRUCT")  # fmt: skip
            continue
        case = reading_stem(path) if pattern is None else pattern.case(path)
        if case is None:
            passed_over.append(path.name)
        elif case in found:
            raise UsageError(f"two files of case {case}", where=name, got=f"{found[case].name}, {path.name}")
        else:
            found[case] = path
    if pattern is not None and not found:
        raise UsageError(f"no file fits {pattern.text}", where=name, got=listed(passed_over) or "no label file")
    places = {case: find_place(path, where=f"case {case}, {name}") for case, path in found.items()}
    return CaseFiles(places, tuple(passed_over))


def model_folders(models: Models, taken: Iterable[str] = ()) -> dict[str, Path]:
    """Name and folder of every model.

    A model is called as its folder is, `(model)` added where a rater is called the same, or as `NAME=FOLDER` says.

    Raises:
        UsageError: two models would have one name.
    """
    taken = set(taken)
    if isinstance(models, Mapping):
        named = [(str(name), Path(path)) for name, path in models.items()]
    else:
        paths = [] if models is None else [models] if isinstance(models, str | Path) else list(models)
        named = [_named(path) for path in paths]
    found: dict[str, Path] = {}
    for name, path in named:
        name = f"{name} (model)" if name in taken else name
        if name in found:
            raise UsageError(f"two models are called '{name}'", where="--model", expected="different names",
                             do="Name them: --model first=DIR --model second=DIR2.")  # fmt: skip
        found[name] = path
    return found


def _named(given: str | Path) -> tuple[str, Path]:
    name, equals, rest = str(given).partition("=")
    if equals and name and rest and not Path(given).exists() and "/" not in name:
        return name, Path(rest)
    return Path(given).resolve().name or "model", Path(given)


def check_predicted(
    model: str, found: Mapping[str, object], cases: Sequence[str], *, allow_missing: bool, seen: Sequence[str] = ()
) -> None:
    """Refuses a model without predictions of any case, and one that lacks some unless `allow_missing` is given.

    Args:
        seen: what lies in its folder instead.

    Raises:
        UsageError: none of the cases is predicted.
        FileReadError: some are not; all are listed.
    """
    missing = [case for case in cases if case not in found]
    if len(missing) == len(cases):
        raise UsageError("no prediction of any case", where=model, expected=f"{cases[0]}.nii.gz and so on",
                         got=listed(list(seen)) or "no label file")  # fmt: skip
    if missing and not allow_missing:
        raise FileReadError(
            f"{len(missing)} of {len(cases)} cases have no prediction",
            where=model,
            got=listed(missing),
            do="Predict them, or pass --allow-missing to leave them out.",
        )


def find_images(folder: str | Path | None, cases: Sequence[str]) -> dict[str, Path]:
    """The image of each case in a folder of `<case>.nii.gz` files or `<case>` DICOM folders; nothing without a folder.

    Raises:
        FileReadError: no such folder.
        UsageError: it holds an image of no case, or two of one.
    """
    if folder is None:
        return {}
    root = Path(folder)
    if not root.is_dir():
        raise FileReadError("no such folder", where="--images", expected="<case>.nii.gz or a DICOM folder <case>")
    found: dict[str, Path] = {}
    for path in entries(root, where="--images"):
        stem = path.name if path.is_dir() else path.stem if path.suffix.lower() == ".zip" else reading_stem(path)
        if stem in cases and (known := found.setdefault(stem, path)) is not path:
            raise UsageError(f"two images of case {stem}", where="--images", got=f"{known.name}, {path.name}")
    if not found:
        raise UsageError("no image of any case", where="--images", expected=f"{cases[0]}.nii.gz and so on")
    return found
