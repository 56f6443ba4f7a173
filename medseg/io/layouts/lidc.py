"""LIDC-IDRI: chest CTs with the outlines of up to four radiologists in an XML file each.

Readers are anonymous: reader_1 is the first session of a case's file and another person in another case. A reader
without a nodule has read the case and found none. The label `nodule` holds all nodules of at least 3 mm; which outlines
of which readers mean the same nodule, and what they said of it, stands with each reading in `dataset.yaml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medseg.errors import FileReadError, LabelError
from medseg.imaging.labels import BACKGROUND, LabelMap, LabelSet
from medseg.io.layouts.dicom_tree import Study, find_studies
from medseg.io.layouts.layout import Derived, Drawn, Faults, FoundCase, ImportOptions, Layout, check_source, shown
from medseg.io.lidc_nodules import read_lidc
from medseg.io.lidc_xml import LidcReadings, read_lidc_xml

NAME = "lidc"
NODULE = "nodule"
LABELS = LabelSet({BACKGROUND: 0, NODULE: 1})


def find_lidc(source: Path, options: ImportOptions) -> Layout:
    """Every CT below a folder, with the readings of the XML file that names its series.

    XML files of CTs that are not there, as in the collection's separate archive of all readings, are left out and
    counted; so are those of chest X-rays.

    Raises:
        FileReadError, DicomError: no such folder, no CT, or no XML file of any CT in it.
    """
    check_source(source, NAME)
    studies = find_studies(source, options)
    faults = Faults()
    readings, others = _readings(source, faults)
    cases, raters = [], 0
    for study in studies:
        own = readings.pop(study.series.uid, [])
        with faults.gathered():
            if len(own) > 1:
                raise LabelError(f"{len(own)} XML files of one CT", where=shown(study.folder, source), expected="one",
                                 do="Take the others out.")  # fmt: skip
        cases.append(_case(study, own[0] if own else None, source))
        raters = max(raters, len(cases[-1].raters))
    if not raters and not faults.found:
        raise FileReadError("no XML file of any CT in the source", where=source.name,
                            expected="LIDC XML files beside the CT or in a folder of their own",
                            got=f"{len(studies)} CT series, {len(readings)} XML files of other CTs",
                            do="Put the readings (LIDC-XML-only) into the source.")  # fmt: skip
    names = tuple(f"reader_{number}" for number in range(1, raters + 1))
    return Layout(source, LABELS, names, tuple(cases), anonymous=True,
                  notes=_notes(cases, len(readings) + others), faults=tuple(faults.found))  # fmt: skip


def _readings(source: Path, faults: Faults) -> tuple[dict[str, list[tuple[Path, LidcReadings]]], int]:
    """The XML files by the UID of their CT, and how many are none of a CT."""
    found: dict[str, list[tuple[Path, LidcReadings]]] = {}
    others = 0
    for path in sorted(path for path in source.rglob("*") if path.suffix.lower() == ".xml" and path.is_file()):
        try:
            readings = read_lidc_xml(path, where=shown(path, source))
        except FileReadError as error:
            if error.what == "not the reading of a CT":
                others += 1
            else:
                faults.found.append(error)
            continue
        found.setdefault(readings.series_uid, []).append((path, readings))
    return found, others


def _case(study: Study, own: tuple[Path, LidcReadings] | None, source: Path) -> FoundCase:
    name = shown(study.folder, source)
    raters: dict[str, Derived] = {}
    if own is not None:
        path, readings = own
        for reader in readings.readers:
            raters[f"reader_{reader.number}"] = Derived(
                partial(_drawn, study, path, reader.number, shown(path, source))
            )
    return FoundCase(name, study.folder, raters, study.series.patient_key, image_options=study.options)


def _drawn(study: Study, path: Path, reader: int, where: str) -> Drawn:
    series, acquisition = study.grid()
    lidc = read_lidc(path, series, acquisition, where=where)
    labels = lidc.mask(reader).astype("uint8") * LABELS.values[NODULE]
    reading = LabelMap(labels, lidc.geometry, LABELS, labelled=(NODULE,))
    facts = lidc.facts(reader)
    ratings = facts.pop("ratings")
    told = {nodule: [f"{name} {value}" for name, value in rated.items()] for nodule, rated in ratings.items()}
    return Drawn(reading, {**facts, **told}, invented=acquisition.invented)


def _notes(cases: Sequence[FoundCase], others: int) -> tuple[str, ...]:
    unread = sum(not case.raters for case in cases)
    notes = [f"{unread} of {len(cases)} CT series have no XML file"] if unread else []
    notes += (
        [f"{others} XML files of chest X-rays or of CTs that are not in the source were left out"] if others else []
    )
    return tuple(notes)
