"""With which choices each file of a prediction was written, and what is said where it is kept and others are asked for.

The record keeps them under `written_with`; a file of an older version counts as written by default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from medseg.io.segment_codes import CodeTable

Choices = dict[str, bool | str]
DECIDING = {  # by format, what `Outputs` decides of its content
    "nrrd": ("codes",),
    "dicom-seg": ("codes",),
    "rtstruct": ("codes", "short_names"),
    "png": ("images",),
    "viewer": ("images",),
}
BY_DEFAULT: Choices = {"codes": "", "short_names": False, "images": True}
WORDS = {
    ("images", True): "shows the CT",
    ("images", False): "shows no CT",
    ("short_names", True): "has short names",
    ("short_names", False): "has whole names",
}


class Outputs(Protocol):
    """What `prediction_files.Outputs` says of them."""

    @property
    def codes(self) -> CodeTable | None: ...

    @property
    def short_names(self) -> bool: ...

    @property
    def images(self) -> bool: ...


def choices(form: str, outputs: Outputs) -> Choices:
    """What decides of a file's content besides the prediction; a table of codes by its SHA-256."""
    table = "" if outputs.codes is None else outputs.codes.model_dump_json()
    own: Choices = {
        "codes": hashlib.sha256(table.encode()).hexdigest() if table else "",
        "short_names": outputs.short_names,
        "images": outputs.images,
    }
    return {option: own[option] for option in DECIDING.get(form, ())}


def kept_otherwise(record: Mapping[str, Any] | None, kept: Sequence[str], outputs: Outputs) -> tuple[str, ...]:
    """Sentences for files that are kept although they would be written otherwise now."""
    there = written_with(record)
    return tuple(
        f"the {form} file that is there {WORDS.get((option, found), 'has other codes')} and is kept; --overwrite "
        "writes it as asked for now"
        for form in kept
        for option, wanted in choices(form, outputs).items()
        if (found := there.get(form, {}).get(option, BY_DEFAULT[option])) != wanted
    )


def written_with(record: Mapping[str, Any] | None) -> Mapping[str, Mapping[str, Any]]:
    """The choices of each format, as the record tells; empty for one of an older version."""
    found = (record or {}).get("written_with")
    return {form: own for form, own in found.items() if isinstance(own, dict)} if isinstance(found, dict) else {}


def all_choices(
    record: Mapping[str, Any] | None, formats: Sequence[str], written: Sequence[str], outputs: Outputs
) -> dict[str, Mapping[str, Any]]:
    """Those of `formats`: of files that this call writes its own, of others what the record tells."""
    found = {**written_with(record), **{form: choices(form, outputs) for form in written}}
    return {form: found[form] for form in formats if found.get(form)}
