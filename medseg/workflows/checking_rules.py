"""What can only be seen when the cases of a data set are laid side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from medseg.config import nearest
from medseg.evaluation.outliers import HIGHEST_SCORE, Outlier, find_outliers
from medseg.imaging.kernels import kernel_family
from medseg.io.manifest import CaseEntry, Dataset
from medseg.report.doctor import TRUTH, CaseRow, Problem
from medseg.report.doctor_tables import millilitres
from medseg.workflows.checking_case import Examined

SPLITS = ("train", "validation", "test")
LEAST_SPACING_RATIO, LEAST_VOLUME_RATIO = 1.5, 3.0
PLACEHOLDER_CASES = 4  # one person in more than half of so many cases is an anonymiser's placeholder
RULE = f"modified z-score of the logarithm above {HIGHEST_SCORE:g}"


def listing_problems(dataset: Dataset) -> Iterator[Problem]:
    """Faults of `dataset.yaml` alone; no file is opened."""
    yield from _several(dataset, "split", lambda case: case.split or "no split",
                        "Give all cases of one patient the same `split:`, or the test set is no test.")  # fmt: skip
    yield from _several(dataset, "group", lambda case: case.group or "no group",
                        "Give all cases of one patient the same `group:`, or correct `patient:`.")  # fmt: skip
    for name in sorted({case.split for case in dataset.cases if case.split} - set(SPLITS)):
        yield Problem("warning", "", f"the split '{name}' is not one of {', '.join(SPLITS)}{nearest(name, SPLITS)}",
                      "Correct it, or know that training takes every case outside the split `test`.")  # fmt: skip
    if not dataset.raters:
        yield Problem("warning", "", "the data set lists no rater, so it can only be predicted",
                      "Add `raters:` and one label file a case to train or judge.")  # fmt: skip
    for rater in dataset.raters:
        if not any(rater in case.raters for case in dataset.cases):
            yield Problem("warning", "", f"rater {rater} has read no case", "Take the rater out of `raters:`.")
    yield from _shared_files(dataset)


def _several(dataset: Dataset, what: str, of: Callable[[CaseEntry], str], do: str) -> Iterator[Problem]:
    """Patients whose cases are spread over several splits or groups."""
    found: dict[str, set[str]] = {}
    for case in dataset.cases:
        found.setdefault(case.patient, set()).add(of(case))
    for patient, names in found.items():
        if len(names) > 1:
            cases = ", ".join(case.id for case in dataset.cases if case.patient == patient)
            message = f"patient {patient} is in several {what}s: {', '.join(sorted(names))} ({cases})"
            yield Problem("error", "", message, do)


def _shared_files(dataset: Dataset) -> Iterator[Problem]:
    """Cases that name one image, and cases that name one label file; raters of one case are compared elsewhere."""
    images = {case.id: f"{case.image}\n{case.image_options.series}" for case in dataset.cases}
    for cases in _same(images.items()):
        yield _same_image(cases, "name the same image file")
    files = [(case.id, f"{path}\n") for case in dataset.cases for file in case.raters.values() for path in file.paths]
    shared = {tuple(dict.fromkeys(cases)) for cases in _same(files)}
    for cases in sorted(shared):
        if len(cases) > 1 and len({images[case] for case in cases}) > 1:
            yield Problem("error", "", f"cases {', '.join(cases)} name the same label file",
                          "Give each case its own files; a rater without one is missing.")  # fmt: skip


def _same_image(cases: Sequence[str], how: str) -> Problem:
    return Problem("error", "", f"cases {', '.join(cases)} {how}",
                   "Keep one of them; several readings of one image belong under one case's `raters:`.")  # fmt: skip


def _same(pairs: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    """Groups of names that share a key; an empty key is shared with nobody."""
    groups: dict[str, list[str]] = {}
    for name, key in pairs:
        if key:
            groups.setdefault(key, []).append(name)
    yield from (names for names in groups.values() if len(names) > 1)


def comparison_problems(dataset: Dataset, examined: Sequence[Examined]) -> Iterator[Problem]:
    """Faults that show when cases are compared."""
    rows = [found.row for found in examined]
    yield from _copies(dataset, examined)
    yield from _persons(dataset, examined)
    yield from _never_drawn(dataset, rows)
    yield from _spacing_outliers(rows)
    yield from _volume_outliers(dataset, rows)
    yield from _kernels(rows)


def _copies(dataset: Dataset, examined: Sequence[Examined]) -> Iterator[Problem]:
    """Images that are the same under different names."""
    listed = {case.id: (case.image, case.image_options.series) for case in dataset.cases}
    for how, key in (
        ("hold the same image, voxel by voxel", lambda facts: facts.digest),
        ("hold the same DICOM series", lambda facts: "" if facts.digest else facts.series),
    ):
        for cases in _same((found.row.case, key(found.facts)) for found in examined if found.facts):
            if len({listed[case] for case in cases}) == len(cases):
                yield _same_image(cases, how)


def _persons(dataset: Dataset, examined: Sequence[Examined]) -> Iterator[Problem]:
    """Cases of one person, as the image files say, that the data set lists as different patients."""
    persons = {found.row.case: found.facts.person for found in examined if found.facts and found.facts.person}
    for cases in _same(persons.items()):
        entries = [dataset.entry(case) for case in cases]
        if len({entry.patient for entry in entries}) < 2:
            continue
        if len(persons) >= PLACEHOLDER_CASES and 2 * len(cases) > len(persons):
            continue
        apart = len({entry.split for entry in entries}) > 1 or len({entry.group for entry in entries}) > 1
        also = ", and in several splits or groups" if apart else ""
        yield Problem("error" if apart else "warning", "",
                      f"cases {', '.join(cases)} are of one person by their DICOM headers, but are listed as "
                      f"different patients{also}", "Give them the same `patient:`.")  # fmt: skip


def _never_drawn(dataset: Dataset, rows: Sequence[CaseRow]) -> Iterator[Problem]:
    readings = [volumes for row in rows for volumes in row.volumes_ml.values()]
    for label in dataset.labels.foreground:
        if readings and not any(volumes.get(label) for volumes in readings):
            yield Problem("warning", "", f"{label} is in no reading of any case", "Take it out of `labels:`.")


def _spacing_outliers(rows: Sequence[CaseRow]) -> Iterator[Problem]:
    for axis, name in enumerate("XYZ"):
        values = {row.case: row.spacing_mm[axis] for row in rows if row.spacing_mm}
        for case, found in find_outliers(values, least_ratio=LEAST_SPACING_RATIO).items():
            message = (f"case {case}: the spacing along {name} is {found.value:.3g} mm, against {found.median:.3g} mm "
                       f"in the median of {len(values)} cases ({_score(found)})")  # fmt: skip
            yield Problem("warning", case, message, "Check the header against the scanner's protocol.")


def _volume_outliers(dataset: Dataset, rows: Sequence[CaseRow]) -> Iterator[Problem]:
    for label in dataset.labels.foreground:
        values = {(row.case, reading): volumes[label] for row in rows for reading, volumes in row.volumes_ml.items()
                  if reading != TRUTH and volumes.get(label)}  # fmt: skip
        by_name = {f"case {case}, rater {reading}": ml for (case, reading), ml in values.items()}
        cases = {name: case for name, (case, _) in zip(by_name, values, strict=True)}
        for name, found in find_outliers(by_name, least_ratio=LEAST_VOLUME_RATIO).items():
            message = (f"{name}: {label} has {millilitres(found.value)} ml, against {millilitres(found.median)} ml in "
                       f"the median of {len(values)} readings ({_score(found)})")  # fmt: skip
            yield Problem("warning", cases[name], message,
                          "Look at the case: another structure, unfinished work, or rare anatomy.")  # fmt: skip


def _score(found: Outlier) -> str:
    return f"{RULE}; here {'infinite' if found.score == float('inf') else f'{found.score:.1f}'}"


def _kernels(rows: Sequence[CaseRow]) -> Iterator[Problem]:
    families: dict[str, Counter[str]] = {}
    for row in rows:
        if family := kernel_family(row.kernel):
            families.setdefault(family, Counter())[row.kernel] += 1
    if len(families) > 1:
        said = "; ".join(f"{sum(names.values())} cases with a {family} one ({', '.join(sorted(names))})"
                         for family, names in sorted(families.items()))  # fmt: skip
        yield Problem("warning", "", f"the reconstruction kernels are mixed: {said}",
                      "Use one family, or tell them apart by `group:`, so that folds and results can be.")  # fmt: skip
