"""`medseg predict`: label maps on each input's own grid, from one study to thousands."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medseg.errors import UsageError
from medseg.evaluation.measurements import Measurement
from medseg.inference.asked import Asked
from medseg.io.segment_codes import read_codes
from medseg.workflows.fleet import Fleet
from medseg.workflows.fleet_outcomes import Outcome, results_of
from medseg.workflows.outputs import write_csv
from medseg.workflows.prediction_files import Outputs, origin_of
from medseg.workflows.prediction_folder import shared_folder
from medseg.workflows.prediction_record import read_measurements
from medseg.workflows.prediction_studies import RefusedWrites, Study, list_studies
from medseg.workflows.prediction_work import Predicted, PredictionSettings, PredictStudies
from medseg.workflows.telling import Progress, Say

KIND = "predictions"
OVERLAP = 2  # studies under way at once in one process: one with the network, one being read or written


def predict(
    run: str | Path | Sequence[str | Path],
    inputs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    formats: Sequence[str] = ("nifti",),
    probabilities: bool = False,
    maps: Sequence[str] = (),
    uncertainty: bool = False,
    checkpoint: str = "best",
    as_rater: str | None = None,
    split: str | None = None,
    device: str = "auto",
    ram: str | int | None = None,
    vram: str | int | None = None,
    tilt: str | None = None,
    gaps: str | None = None,
    nan_hu: float | None = None,
    postprocessing: bool = True,
    may_use_cpu: bool = True,
    codes: str | Path | None = None,
    short_names: bool = False,
    images: bool = True,
    jobs: int | None = None,
    ray: str | None = None,
    insecure_cluster: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
    say: Say = lambda text: None,
    on_done: Callable[[Sequence[Outcome[Study, Predicted]]], None] = lambda outcomes: None,
) -> list[Path]:
    """Predicts every study and returns its first file, such as `out/<case>.nii.gz`, in the run's own label values.

    A study that fails is set aside and the rest go on. What is there already, of the same model, is kept and not done
    again, so that a command that was cut off is simply given again. Several commands may write into one `out` at the
    same time. `out/measurements.csv` has the volume of every
    structure of every study; with `uncertainty`, `maps` or `probabilities` also what is left open about it.

    Args:
        run: folder that `medseg train` wrote; its `fold_<k>` are averaged where it has them, as are several runs.
        inputs: NIfTI, NRRD or MetaImage files, data sets, and DICOM folders or zips, of which every CT series is taken.
        formats: of nifti, nrrd, dicom-seg, rtstruct, png and viewer, see `prediction_files`.
        probabilities: also write `out/probabilities/<case>.nii.gz` (X, Y, Z, label).
        maps: of `entropy` and `disagreement`, also write `out/<map>/<case>.nii.gz` in nats.
        uncertainty: measure what the probabilities leave open and, of several folds, runs or experts, the spread of
            their volumes; the former also comes with probabilities and maps, the latter with the disagreement.
        checkpoint: `best` or `last`.
        as_rater: name of the rater to predict like, of a run that knows its raters; None for the consensus.
        split: of data sets, predict only the cases of this split.
        device: `auto`, `cpu` or `cuda`.
        ram, vram: the most memory of the whole process and of the GPU, such as `8G`; with several jobs of each. With
            `ram` studies are predicted strictly one after the other, else the next one is read meanwhile.
        tilt, gaps, nan_hu: how studies are read that are no data sets, see `convert`; a data set says so itself.
        postprocessing: whether to apply what `validate` chose for the run; of several runs where they agree.
        may_use_cpu: whether a study that the GPU's memory does not hold is predicted on the CPU, which is noted.
        codes: table of codes for DICOM, see `segment_codes.read_codes`.
        short_names: regions of the RTSTRUCT get names of at most 16 letters.
        images: whether pictures and pages show the CT.
        jobs, ray, insecure_cluster: who does the work, see `fleet`; by default one, with Ray as many as cores.
        overwrite: replace what is there.
        say: told what holds for all studies, such as a file system without locks.
        on_done: called with what became of every study, before an error is raised.

    Raises:
        UsageError: see `list_studies`; a budget of memory that is too small.
        LabelError: a data set's labels are not those of the run.
        OutputExistsError: `out` holds something else, or results of another model without `overwrite`.
        CheckpointError: see `Run.load`.
        MedsegError: studies were set aside; the error of the first, which says how many more there are.
    """
    if checkpoint not in ("best", "last"):
        raise UsageError("no such checkpoint", where="--checkpoint", expected="best or last", got=checkpoint)
    runs = tuple(map(Path, [run] if isinstance(run, str | Path) else run))
    settings = PredictionSettings(checkpoint, device, as_rater, ram, vram, uncertainty, postprocessing,
                                  may_use_cpu, Path(out))  # fmt: skip
    table = None if codes is None else read_codes(codes)
    outputs = Outputs(formats, table, short_names=short_names, images=images, overwrite=overwrite,
                      besides=(*(["probabilities"] if probabilities else []), *maps))  # fmt: skip
    fleet = _fleet(jobs, ray, insecure_cluster, ram, device)
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    reading = {"tilt": tilt, "gaps": gaps, "nan_hu": nan_hu}
    asked = Asked(probabilities, maps, uncertainty)
    predictor = settings.load(runs)  # before anything is written: a model that cannot be loaded ends it here
    predictor.check(asked)
    studies = list_studies(given, predictor.label_set, split, {k: v for k, v in reading.items() if v is not None})
    work = PredictStudies(runs, Path(out), settings, outputs, origin_of(runs, checkpoint, as_rater, postprocessing),
                          _threads(fleet), asked.members and predictor.count_members > 1,
                          _on_tiles(fleet, progress))  # fmt: skip
    with shared_folder(work.folder, kind=KIND, say=say):
        outcomes = fleet.map(
            _Loaded(work, predictor) if _stays_here(fleet) else work, studies, finished=work.finished, name=_name,
            on_done=lambda outcome, done, total: progress("Predicting", done, total, outcome.item.id),
            give_up=RefusedWrites(), say=say,
        )  # fmt: skip
        on_done(outcomes)  # before a disk that is full ends it
        _write_measurements(work.folder)
    return [predicted.files[0] for predicted in results_of(outcomes)]


def _write_measurements(folder: Path) -> None:
    """`measurements.csv`: a line per structure of every study in the folder, also of other calls.

    Of several calls at the same time each writes it until no study has been added meanwhile, so the last one has all.
    """
    written = None
    while (records := _records(folder)) != written:
        rows = [
            {"study": name, **each.as_record} for name in sorted(records) for each in read_measurements(folder, name)
        ]
        write_csv(folder / "measurements.csv", rows, ["study", *Measurement.__dataclass_fields__])
        written = records


def _records(folder: Path) -> dict[str, int]:
    """The studies that have a record, and when it was written."""
    found = {}
    for path in folder.glob("[!.]*.json"):
        with suppress(FileNotFoundError):  # just replaced, with --overwrite
            found[path.stem] = path.stat().st_mtime_ns
    return found


class _Loaded:
    """The work of this process, with the model that is loaded already."""

    def __init__(self, work: PredictStudies, predictor: Any) -> None:
        self.work, self.predictor = work, predictor

    def __call__(self) -> Callable[[Study], Predicted]:
        return lambda study: self.work.predict(self.predictor, study)


def _fleet(jobs: int | None, ray: str | None, insecure_cluster: bool, ram: str | int | None, device: str) -> Fleet:
    """Workers as asked for; one job overlaps reading and writing with the network where memory is not promised."""
    if jobs in (None, 1) and ray is None and not insecure_cluster and ram is None:
        return Fleet(OVERLAP, kind="threads")
    return Fleet(jobs, ray, insecure_cluster=insecure_cluster, device=device)


def _stays_here(fleet: Fleet) -> bool:
    return fleet.ray is None and (fleet.most == 1 or fleet.kind == "threads")


def _threads(fleet: Fleet) -> int | None:
    """Threads of each worker on this machine, which share its processors; a cluster decides for itself."""
    return (
        None if _stays_here(fleet) or fleet.ray not in (None, "local") else max(1, (os.cpu_count() or 1) // fleet.most)
    )


def _on_tiles(fleet: Fleet, progress: Progress) -> Callable[[str, int, int], None] | None:
    if not _stays_here(fleet):
        return None
    return lambda study, done, total: progress("Tiles of this study", done, total, study)


def _name(study: Study) -> str:
    return study.where
