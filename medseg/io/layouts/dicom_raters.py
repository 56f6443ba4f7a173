"""Are the raters that folders, files or labels of structure sets name raters, or patients?

A rule that points at the wrong folder makes each patient a rater, and their names would stand in the data set, in
its folders and in every report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medseg.errors import LabelError
from medseg.io.layouts.layout import FoundCase
from medseg.io.roi_names import FILE_NAME, RaterRule

SHORTEST_KEY = 5  # characters of a PatientID that are found in a rater's name by chance no more
REMEDY = (f"Let `rater:` in {FILE_NAME} point elsewhere (another `up:` or `from:`), name all files' rater with "
          "`from: name`, or give each rater a name under `names:`.")  # fmt: skip


def check_raters(cases: Sequence[FoundCase], rule: RaterRule) -> None:
    """Refuses raters that are patients; names that the user typed are taken at their word.

    Raises:
        LabelError: a rater is called like a PatientID, or there are several raters and each read one patient only.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        for rater in case.raters:
            if rule.was_read(rater):
                patients[rater].add(case.patient or case.name)
    keys = {key for case in cases if len(key := _letters(case.patient)) >= SHORTEST_KEY}
    if called := sum(any(key in _letters(rater) for key in keys) for rater in patients):
        raise LabelError("raters are called like patients", where=FILE_NAME, expected="the rater's name",
                         got=f"a PatientID in {called} of {len(patients)} names", do=REMEDY)  # fmt: skip
    if len(set().union(*patients.values())) >= len(patients) > 1 and all(len(read) == 1 for read in patients.values()):
        raise LabelError("each rater read one patient only, as if patients had been taken for raters", where=FILE_NAME,
                         expected="raters who read several patients", got=f"{len(patients)} raters of as many patients",
                         do=REMEDY)  # fmt: skip


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
