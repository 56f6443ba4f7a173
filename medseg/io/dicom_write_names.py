"""Names of structures as DICOM can hold them: of a limited length, without signs of another meaning, all different."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medseg.io.roi_suggestions import shown_name

LONGEST = 64  # of LO, PS3.5 6.2
FORBIDDEN = re.compile(r"[\\\x00-\x1f\x7f]+")
SHOWN = 10


def header_names(names: Sequence[str], longest: int = LONGEST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A name of at most `longest` letters for each, no two equal but for case, and a sentence about those that changed.

    What is cut keeps its end, where sides stand; what would then be equal to an earlier name gets a number.

    >>> header_names(["liver", "lung_upper_lobe_left", "lung_upper_lobe_right"], 16)[0]
    ('liver', 'lung_upp~be_left', 'lung_upp~e_right')
    """
    found: list[str] = []
    for name in names:
        clean = FORBIDDEN.sub("_", name).strip() or "structure"
        found.append(_free(_cut(clean, longest), longest, {each.casefold() for each in found}))
    changed = [f"{shown_name(old)} as {shown_name(new)}" for old, new in zip(names, found, strict=True) if old != new]
    if not changed:
        return tuple(found), ()
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    rule = f"names here have at most {longest} letters and no control signs"
    return tuple(found), (f"written {', '.join(changed[:SHOWN])}{more}: {rule}",)


def _cut(name: str, longest: int, end: str = "") -> str:
    room = longest - len(end)
    if len(name) <= room:
        return name + end
    head = room - room // 2
    return f"{name[:head]}~{name[len(name) - (room - head - 1) :]}{end}" if room > 2 else name[:room] + end


def _free(name: str, longest: int, taken: set[str]) -> str:
    number, free = 2, name
    while free.casefold() in taken:
        free, number = _cut(name, longest, f"~{number}"), number + 1
    return free
