"""`medseg masks`: the label file of another tool or of a person in any format of a prediction, such as DICOM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from medseg.errors import UsageError
from medseg.files import open_growing_folder
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.label_files import find_format, label_stem, read_labels
from medseg.io.layouts.label_names import FORM, build_label_set, given_labels
from medseg.io.made_by import MadeBy, Way
from medseg.io.readers import find_reader
from medseg.io.segment_codes import read_codes
from medseg.workflows.prediction_files import Outputs, PredictionFiles, StudySource, write_prediction
from medseg.workflows.prediction_work import SHOWS_IMAGE

KIND = "masks"
UNKNOWN = "not told"


def masks(
    file: str | Path,
    study: str | Path,
    out: str | Path,
    *,
    labels: str | Path | LabelSet | None = None,
    formats: Sequence[str] = ("dicom-seg", "rtstruct"),
    made_by: str = UNKNOWN,
    way: str = "automatic",
    series: str | None = None,
    tilt: str | None = None,
    gaps: str | None = None,
    codes: str | Path | None = None,
    short_names: bool = False,
    images: bool = True,
    overwrite: bool = False,
) -> PredictionFiles:
    """Writes a label file of any origin in the formats of a prediction, on its study; see `prediction_files`.

    Args:
        file: NIfTI, NRRD or MetaImage of label values, on the grid of the study or on its lattice, cut or turned.
        study: the CT that was segmented; for DICOM formats its series.
        labels: names and values, as `liver=1,kidney=2`, a YAML file or a `LabelSet`; needed unless the file tells them.
        formats: of nifti, nrrd, dicom-seg, rtstruct, png and viewer.
        made_by: the program and its version, such as `TotalSegmentator 2.4.0`, or whoever drew them.
        way: automatic, semiautomatic or manual.
        series: of a study with several.
        tilt, gaps: how the study was read when it was segmented, see `convert`.
        codes, short_names, images, overwrite: as for `predict`.

    Raises:
        UsageError: no names, an unknown way, or options that mean nothing for the study.
        FileReadError, LabelError, GeometryError: the label file cannot be used; else as `write_prediction`.
    """
    table = None if codes is None else read_codes(codes)
    outputs = Outputs(formats, table, short_names=short_names, images=images, overwrite=overwrite)
    given = {"series": series, "tilt": tilt, "gaps": gaps}
    reading = {name: value for name, value in given.items() if value is not None}
    reader = find_reader(study, where="the study")
    reader.check(reading)
    source = StudySource(Path(study), reading, where="the study", besides=(Path(file),))
    outputs.check(source)
    read = read_labels(file, _label_set(file, labels))
    if images and SHOWS_IMAGE.intersection(formats):
        source = source.showing(reader.read(study, where="the study", **reading))
    prediction = Prediction(read.labels, read.geometry, read.label_set)
    folder = open_growing_folder(out, kind=KIND)
    origin = _origin(made_by, way)
    return write_prediction(folder, label_stem(file), prediction, source, outputs=outputs, made_by=origin)


def _label_set(file: str | Path, labels: str | Path | LabelSet | None) -> LabelSet:
    """The names that are given, else those that the file tells."""
    if (given := given_labels(labels)) is not None:
        return given
    told = {name: value for value, name in find_format(file).names(file).items()}
    if not told:
        raise UsageError("nothing says what the values mean", where="--labels", expected=FORM)
    return build_label_set(told, where=Path(file).name)


def _origin(made_by: str, way: str) -> MadeBy:
    """The program and, where the last word begins with a digit, its version."""
    known = {each.lower(): each for each in get_args(Way)}
    if way.lower() not in known:
        raise UsageError(f"--way cannot be '{way}'", expected=" or ".join(known))
    words = made_by.split()
    version = words.pop() if len(words) > 1 and words[-1].lstrip("v")[:1].isdigit() else ""
    return MadeBy(" ".join(words) or UNKNOWN, version, way=known[way.lower()])
