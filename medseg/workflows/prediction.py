"""`medseg predict`: label maps on each input's own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medseg.errors import FileReadError, InputError, LabelError, UsageError
from medseg.files import replaced_folder
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.imaging.volume import Volume
from medseg.io.dicom import list_series
from medseg.io.manifest import FILE_NAME, read_dataset
from medseg.io.nifti import is_nifti, write_labels, write_probabilities
from medseg.io.readers import find_reader
from medseg.workflows.run import load_predictor

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Study:
    """One study to predict: the id that names the result, where it lies, and how its reader is told to read it."""

    id: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"study {self.id}"

    def read(self) -> Volume:
        """The study in HU."""
        return find_reader(self.path, where=self.where).read(self.path, where=self.where, **self.options)


def predict(
    run: str | Path,
    inputs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    probabilities: bool = False,
    checkpoint: str = "best",
    as_rater: str | None = None,
    split: str | None = None,
    device: str = "auto",
    tilt: str | None = None,
    gaps: str | None = None,
    nan_hu: float | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> list[Path]:
    """Predicts every study and returns the label files `out/<case>.nii.gz`, in the run's own label values.

    Args:
        run: folder that `medseg train` wrote; its `fold_<k>` are averaged where it has them.
        inputs: NIfTI, NRRD or MetaImage files, data sets, and DICOM folders or zips, of which every CT series is taken.
        probabilities: also write `out/probabilities/<case>.nii.gz` (X, Y, Z, label).
        checkpoint: `best` or `last`.
        as_rater: name of the rater to predict like, of a run that knows its raters; None for the consensus.
        split: of data sets, predict only the cases of this split.
        device: `auto`, `cpu` or `cuda`.
        tilt, gaps, nan_hu: how studies are read that are no data sets, see `convert`; a data set says so itself.

    Raises:
        UsageError: two inputs give one case id, a data set has no such split, or there is no input.
        LabelError: a data set's labels are not those of the run.
        FileReadError, DicomError, GeometryError, VoxelError: see the readers; CheckpointError: see `Run.load`.
    """
    if checkpoint not in ("best", "last"):
        raise UsageError("no such checkpoint", where="--checkpoint", expected="best or last", got=checkpoint)
    predictor = load_predictor(run, which=checkpoint, device=device, as_rater=as_rater)
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    reading = {"tilt": tilt, "gaps": gaps, "nan_hu": nan_hu}
    options = {name: value for name, value in reading.items() if value is not None}
    studies = list_studies(given, predictor.label_set, split, options)
    with replaced_folder(out, kind="predictions", overwrite=overwrite) as folder:
        for done, study in enumerate(studies, 1):
            _write(folder, study, predictor(study.read(), probabilities=probabilities))
            progress("Predicting", done, len(studies), study.id)
    return [Path(out) / _file_name(study) for study in studies]


def list_studies(
    inputs: Sequence[str | Path],
    labels: LabelSet,
    split: str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> list[Study]:
    """The studies that the inputs stand for; a data set stands for its cases, a DICOM tree for its series.

    Args:
        options: how studies are read that are no data sets.

    Raises:
        UsageError, LabelError, FileReadError: see `predict`.
    """
    studies: list[Study] = []
    for path in map(Path, inputs):
        if path.name == FILE_NAME or (path / FILE_NAME).is_file():
            studies += _dataset_studies(path, labels, split)
        else:
            studies += _bare_studies(path, options)
    if not studies:
        raise UsageError("nothing to predict", expected="NIfTI files, DICOM folders or a data set")
    if absent := [study.where for study in studies if not study.path.exists()]:
        raise FileReadError("no such file or folder", where=", ".join(absent[:5]), do="Check the paths.")
    ids = [study.id for study in studies]
    if twice := sorted({case for case in ids if ids.count(case) > 1}):
        raise UsageError("several inputs would be written to one file", got=", ".join(twice[:5]),
                         do="Predict them into different folders, or rename the files.")  # fmt: skip
    return studies


def _bare_studies(path: Path, options: Mapping[str, Any]) -> list[Study]:
    reader = find_reader(path)
    reader.check(options)
    if "series" not in reader.options:
        return [Study(reader.case_id(path), path, options)]
    return [Study(series.id, path, {**options, "series": series.id}) for series in list_series(path)]


def _dataset_studies(path: Path, labels: LabelSet, split: str | None) -> list[Study]:
    dataset = read_dataset(path)
    # a data set that names no structure, such as an import of CTs alone, is there to be predicted by any run
    if dataset.labels.foreground and dict(dataset.labels.values) != dict(labels.values):
        raise LabelError(
            "the run was trained for other labels than those of the data set",
            where=FILE_NAME,
            expected=", ".join(f"{name} {value}" for name, value in labels.values.items()),
            got=", ".join(f"{name} {value}" for name, value in dataset.labels.values.items()),
            do="Give the image files themselves to predict the run's own labels.",
        )
    entries = dataset.select(split)
    if not entries:
        raise InputError(f"no case of split '{split}'" if split else "no case", where=FILE_NAME)
    return [Study(entry.id, entry.image, entry.image_options.reading) for entry in entries]


def _file_name(study: Study) -> str:
    return f"{study.id}.nii.gz"


def _write(folder: Path, study: Study, prediction: Prediction) -> None:
    like = study.path if is_nifti(study.path) else None  # a NIfTI's own position fields give its affine back bit by bit
    write_labels(folder / _file_name(study), prediction.labels, prediction.geometry, like=like)
    if prediction.probabilities is not None:
        own = folder / "probabilities" / _file_name(study)
        write_probabilities(own, prediction.probabilities, prediction.geometry, like=like)
