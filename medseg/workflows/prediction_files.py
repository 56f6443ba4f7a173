"""The files of one prediction: NIfTI, NRRD, DICOM SEG, RTSTRUCT, a picture and a viewer page.

```
OUT/<name>.nii.gz             label values on the study's own grid
    <name>.json               where they come from: hashes of model and recipe, versions, labels, what is worth knowing
    nrrd/<name>.seg.nrrd      a segmentation of 3-D Slicer
    dicom-seg/<name>.dcm      on the acquired slices of the DICOM series
    rtstruct/<name>.dcm       likewise
    png/<name>.png            three planes with outlines
    viewer/<name>.html        opens offline
    probabilities/<name>.nii.gz, entropy/<name>.nii.gz, disagreement/<name>.nii.gz    where they were asked for
```
Each is written whole or not at all, and kept when it is there. None says anything of the patient but the two DICOM
objects, and these no more than the standard requires. Picture and page show patient images unless that is switched off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from medseg.config import nearest
from medseg.data.folds import run_folders
from medseg.errors import UsageError
from medseg.evaluation.expected_dice import DiceCalibration
from medseg.evaluation.measurements import Measurement, measure
from medseg.files import atomic_path, write_text
from medseg.imaging.labels import count_values
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_rtstruct_write import write_structure_set
from medseg.io.dicom_seg_write import write_segmentation
from medseg.io.itk_nrrd_write import write_segmentation_nrrd
from medseg.io.made_by import RESEARCH_ONLY, MadeBy
from medseg.io.nifti import is_nifti, write_labels, write_map, write_probabilities
from medseg.io.segment_codes import CodeTable, palette, segment_codes
from medseg.report.structures import structures_page
from medseg.report.structures_picture import structures_picture
from medseg.shapes import FloatArray
from medseg.workflows.agreement_viewers import nifti_bytes
from medseg.workflows.outputs import sha256, write_json
from medseg.workflows.postprocessing_file import agreed_postprocessing
from medseg.workflows.prediction_choices import all_choices, kept_otherwise
from medseg.workflows.prediction_folder import held_record
from medseg.workflows.prediction_record import SCHEMA, Origin, measurements_of, read_record, written_formats
from medseg.workflows.prediction_source import StudySource
from medseg.workflows.run_together import low_folders

ON_SLICES = ("dicom-seg", "rtstruct")  # formats that need a DICOM source


@dataclass(frozen=True, eq=False)
class Outputs:
    """Which files are written, and how.

    Args:
        formats: keys of FORMATS.
        codes: the user's own table of codes for the DICOM objects, see `read_codes`.
        short_names: regions of the RTSTRUCT get names of at most 16 letters.
        images: whether picture and page show the CT.
        overwrite: whether files that are there are replaced; else they are kept.
        besides: keys of BESIDES: what else the prediction holds and is written.

    Raises:
        UsageError: an unknown format, or none.
    """

    formats: Sequence[str] = ("nifti",)
    codes: CodeTable | None = None
    short_names: bool = False
    images: bool = True
    overwrite: bool = False
    besides: Sequence[str] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Formats and what is written besides, each once."""
        return tuple(dict.fromkeys([*self.formats, *self.besides]))

    def __post_init__(self) -> None:
        if not self.formats:
            raise UsageError("no format", where="--format", expected=", ".join(FORMATS))
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"no such format '{name}'{nearest(name, FORMATS)}", where="--format",
                                 expected=", ".join(FORMATS))  # fmt: skip

    def check(self, source: StudySource) -> None:
        """Reads what the DICOM formats need of the study, so that it is missed before the prediction and not after it.

        Raises:
            FileReadError, DicomError: see `StudySource.dicom`.
        """
        if set(self.formats).intersection(ON_SLICES):
            _ = source.dicom


@dataclass(frozen=True)
class PredictionFiles:
    """All files, those of them that were there and kept, and sentences for the user."""

    paths: tuple[Path, ...]
    kept: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def write_prediction(
    folder: str | Path,
    name: str,
    prediction: Prediction,
    source: StudySource,
    *,
    outputs: Outputs | None = None,
    made_by: MadeBy | None = None,
    notes: Sequence[str] = (),
    calibrations: Mapping[str, DiceCalibration] | None = None,
) -> PredictionFiles:
    """Writes the files of one prediction.

    Args:
        folder: of all predictions.
        name: of the study: the stem of its files.
        made_by: the origin; see `origin_of`.
        notes: sentences for the user that are known already.
        calibrations: of the expected Dice by structure.

    Raises:
        FileReadError, DicomError: a DICOM format, and the study is no DICOM series to which a result can refer.
        GeometryError: the labels lie on another grid than the series: another one, or changed since.
        OutputExistsError: files of another model or version are there and may not be replaced, or those of a study
            that was read in another way or has changed since.
        WriteError: the disk refused; what stood there before is unchanged.
    """
    job = _Job(Path(folder), name, prediction, source, outputs or Outputs(), made_by or MadeBy(), calibrations)
    kept = job.kept
    if set(job.formats).difference(kept).intersection(ON_SLICES):
        source.dicom.check_grid(prediction)  # before anything is written
    done, noted = job.begin()
    notes = [*noted, *notes, *([] if job.found else ["no voxel of any label was found"])]
    for each in job.formats:
        if each not in kept:
            notes += FILES[each].write(job, job.path(each))
            done += (each,)
            job.tell(done, notes)
    if prediction.sums is not None or prediction.probabilities is not None:  # they say more of the volumes
        job.tell(done, notes)
    notes = list(dict.fromkeys([*notes, *kept_otherwise(job.there, kept, job.outputs)]))
    paths = (*map(job.path, job.formats), job.record)
    return PredictionFiles(paths, tuple(map(job.path, kept)), tuple(notes))


def kept_files(folder: str | Path, name: str, outputs: Outputs) -> PredictionFiles | None:
    """The files of a study, where all of them are there already and whole; else None. Does not ask for their origin."""
    paths = {each: Path(folder) / FILES[each].folder / f"{name}{FILES[each].suffix}" for each in outputs.all}
    record = read_record(folder, name)
    if not all(each in written_formats(record) and path.exists() for each, path in paths.items()):
        return None
    notes = (*(record or {}).get("notes", ()), *kept_otherwise(record, outputs.all, outputs))
    return PredictionFiles((*paths.values(), Path(folder) / f"{name}.json"), tuple(paths.values()), notes)


def has_files(folder: str | Path, name: str) -> bool:
    """Whether any format of a study is there."""
    return any((Path(folder) / each.folder / f"{name}{each.suffix}").exists() for each in FILES.values())


@dataclass(frozen=True, eq=False)
class _Job:
    """One prediction to write."""

    folder: Path
    name: str
    prediction: Prediction
    source: StudySource
    outputs: Outputs
    made_by: MadeBy
    calibrations: Mapping[str, DiceCalibration] | None = None

    @property
    def formats(self) -> tuple[str, ...]:
        return self.outputs.all

    @cached_property
    def there(self) -> dict[str, Any] | None:
        """The record of earlier results, as it was at first, that of another origin too."""
        return read_record(self.folder, self.name)

    @property
    def origin(self) -> Origin:
        return Origin(self.made_by, self.source.input)

    def path(self, form: str) -> Path:
        found = FILES[form]
        return self.folder / found.folder / f"{self.name}{found.suffix}"

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def found(self) -> bool:
        """Whether any voxel has a label."""
        values = {self.prediction.label_set.values[name] for name in self.prediction.label_set.foreground}
        return not values.isdisjoint(count_values(self.prediction.labels)[0])

    @cached_property
    def measured(self) -> Sequence[Measurement]:
        """What is measured now."""
        return measure(self.prediction, self.calibrations)

    def measurements(self, there: Mapping[str, Any] | None) -> Sequence[Measurement]:
        """What is measured now, and what another call of the same origin had asked for besides."""
        if self.outputs.overwrite or not self.origin.is_of(there):
            return self.measured
        earlier = {each.structure: each for each in measurements_of(there)}
        return [each.completed(earlier.get(each.structure, each)) for each in self.measured]

    @property
    def hu(self) -> FloatArray | None:
        volume = self.source.volume
        return volume.hu if volume is not None and self.outputs.images else None

    @property
    def colours(self) -> dict[str, str]:
        """For the screen, where neighbours must differ; DICOM and NRRD bear the colours of the codes."""
        names = self.prediction.label_set.foreground
        return {name: "#{:02x}{:02x}{:02x}".format(*palette(place)) for place, name in enumerate(names)}

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The formats whose files are there already, whole and of the very same origin."""
        if self.outputs.overwrite:
            return ()
        there = [each for each in FILES if self.path(each).exists()]
        if there:
            self.origin.check(self.there, self.name)
        return tuple(each for each in there if each in self.formats and each in written_formats(self.there))

    def begin(self) -> tuple[tuple[str, ...], list[str]]:
        """Says where the files come from before the first of them is there; returns what an earlier record keeps.

        These are its formats that are not written anew, and its notes. Where files of another origin are replaced,
        their record goes first, and with it go its files in other formats: no file ever lies beside a record that is
        not its own.
        """
        with held_record(self.record):
            there = read_record(self.folder, self.name)
            stays, notes = (), []
            if ours := self.origin.is_of(there):
                again = self.formats if self.outputs.overwrite else ()
                stays = tuple(each for each in written_formats(there) if each not in again)
                notes = list((there or {}).get("notes", ())) if stays else []
            elif self.outputs.overwrite:
                self.record.unlink(missing_ok=True)
                for each in set(FILES).difference(self.formats):
                    self.path(each).unlink(missing_ok=True)
            if self.outputs.overwrite or not ours:
                write_json(self.record, self.facts(notes, stays, there))
            return stays, notes

    def tell(self, formats: Sequence[str], notes: Sequence[str]) -> None:
        """Writes the record of the formats that are whole, with those of another command that works beside this one.

        Raises:
            OutputExistsError: the other command has another model.
        """
        with held_record(self.record):
            if (there := read_record(self.folder, self.name)) is not None:
                self.origin.check(there, self.name)
                formats, notes = (*formats, *written_formats(there)), [*there.get("notes", ()), *notes]
            write_json(self.record, self.facts(list(dict.fromkeys(notes)), formats, there))

    def facts(self, notes: Sequence[str], formats: Sequence[str], there: Mapping[str, Any] | None) -> dict[str, Any]:
        """The record: no path, date or identifier."""
        formats = [each for each in FILES if each in formats]
        written = [each for each in self.formats if each not in self.kept]
        return {
            "schema": SCHEMA,
            "name": self.name,
            "status": RESEARCH_ONLY,
            "made_by": dict(self.made_by.facts),
            "input": self.source.input.as_record,
            "formats": formats,
            "written_with": all_choices(there, formats, written, self.outputs),
            "labels": dict(self.prediction.label_set.values),
            "measurements": [each.as_record for each in self.measurements(there)],
            "postprocessing": [asdict(change) for change in self.prediction.changes],
            "notes": list(notes),
        }


@dataclass(frozen=True)
class Format:
    """One format: its folder, the end of its names, and how it is written; `write` returns sentences for the user."""

    folder: str
    suffix: str
    write: Callable[[_Job, Path], Sequence[str]]


def _write_nifti(job: _Job, path: Path) -> Sequence[str]:
    like = job.source.path if is_nifti(job.source.path) else None  # its own position fields come back bit by bit
    write_labels(path, job.prediction.labels, job.prediction.geometry, like=like)
    return ()


def _write_probabilities(job: _Job, path: Path) -> Sequence[str]:
    like = job.source.path if is_nifti(job.source.path) else None
    assert job.prediction.probabilities is not None, "they are written where they were asked for"
    write_probabilities(path, job.prediction.probabilities, job.prediction.geometry, like=like)
    return ()


def _write_map(job: _Job, path: Path, name: str) -> Sequence[str]:
    like = job.source.path if is_nifti(job.source.path) else None
    write_map(path, job.prediction.maps[name], job.prediction.geometry, like=like)
    return ()


def _write_nrrd(job: _Job, path: Path) -> Sequence[str]:
    names = job.prediction.label_set.foreground
    codes, _ = segment_codes(names, job.outputs.codes)
    colours = {name: code.colour for name, code in zip(names, codes, strict=True)}
    write_segmentation_nrrd(path, job.prediction, colours=colours, facts={**job.made_by.facts, "status": RESEARCH_ONLY})
    return ()


def _write_seg(job: _Job, path: Path) -> Sequence[str]:
    return write_segmentation(path, job.prediction, job.source.dicom, made_by=job.made_by, codes=job.outputs.codes)


def _write_rtstruct(job: _Job, path: Path) -> Sequence[str]:
    return write_structure_set(path, job.prediction, job.source.dicom, made_by=job.made_by, codes=job.outputs.codes,
                               short_names=job.outputs.short_names)  # fmt: skip


def _write_png(job: _Job, path: Path) -> Sequence[str]:
    picture = structures_picture(job.name, job.prediction, job.hu, job.colours)
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)
    return ()


def _write_page(job: _Job, path: Path) -> Sequence[str]:
    write_text(path, structures_page(job.name, job.prediction, nifti_bytes, job.hu, job.colours))
    return ()


FORMATS = {
    "nifti": Format("", ".nii.gz", _write_nifti),
    "nrrd": Format("nrrd", ".seg.nrrd", _write_nrrd),
    "dicom-seg": Format("dicom-seg", ".dcm", _write_seg),
    "rtstruct": Format("rtstruct", ".dcm", _write_rtstruct),
    "png": Format("png", ".png", _write_png),
    "viewer": Format("viewer", ".html", _write_page),
}
BESIDES = {  # what a prediction holds besides its labels, if it was asked for
    "probabilities": Format("probabilities", ".nii.gz", _write_probabilities),
    "entropy": Format("entropy", ".nii.gz", partial(_write_map, name="entropy")),
    "disagreement": Format("disagreement", ".nii.gz", partial(_write_map, name="disagreement")),
}
FILES = FORMATS | BESIDES


def origin_of(
    runs: Sequence[str | Path] | str | Path,
    which: str = "best",
    as_rater: str | None = None,
    postprocessing: bool = True,
) -> MadeBy:
    """The origin of the predictions of a run, or of several together: SHA-256 of the weights and of the recipe.

    The hash of one checkpoint is that of its file; of several it is that of their hashes in order. Of a network that
    answers like one of its raters, the rater's name goes into the hash; of a cascade its coarser run does.

    Args:
        postprocessing: whether the run's own, where it has one, is done to the labels.

    Raises:
        FileReadError: a file is missing.
        ConfigError: `postprocessing.yaml` is wrong.
    """
    given = [runs] if isinstance(runs, str | Path) else runs
    folders = [folder for run in map(Path, given) for folder in run_folders(run) or [run]]
    coarser = [low for folder in folders for low in low_folders(folder)]
    models = [sha256(folder / "checkpoints" / f"{which}.safetensors") for folder in folders]
    models += [sha256(low / "checkpoints" / "best.safetensors") for low in coarser]
    rater = [] if as_rater is None else [hashlib.sha256(as_rater.encode()).hexdigest()]
    steps = agreed_postprocessing(given)[0] if postprocessing else None
    recipes = [sha256(folder / "recipe.yaml") for folder in (*folders, *coarser)]
    return MadeBy(model=_joined([*models, *rater]), recipe=_joined(recipes),
                  postprocessing=steps.digest if steps else "")  # fmt: skip


def _joined(hashes: Sequence[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
