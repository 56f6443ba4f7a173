"""`medseg import`: a data set of a known layout becomes a `dataset.yaml`, without copying voxels unless asked.

Cases and patients get running numbers. What the source calls them stands nowhere, unless the user asks for the private
key (`sources`); without `copy`, though, the paths in `dataset.yaml` lead to the source's own file names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import FileReadError, InputError, OutputExistsError, UsageError
from medseg.files import check_output_folder, write_text
from medseg.imaging.case import check_same_grid
from medseg.imaging.cosines import Shear
from medseg.imaging.geometry import Geometry
from medseg.imaging.regions import Reading, placed
from medseg.io.label_files import read_labels, read_regions
from medseg.io.layouts import dicom_tree, find_importer
from medseg.io.layouts.copying import copy_image, copy_labels, safe_names, write_drawn
from medseg.io.layouts.label_names import known_labels
from medseg.io.layouts.layout import Derived, Drawn, Faults, FoundCase, ImportOptions, Layout, shown
from medseg.io.layouts.region_table import write_regions
from medseg.io.manifest import FILE_NAME, CaseEntry, Dataset, ImageOptions, LabelFile, write_dataset
from medseg.io.readers import find_reader
from medseg.workflows.outputs import write_csv
from medseg.workflows.telling import Progress
from medseg.workflows.whole_folder import whole_folder

KIND = "data set"
THREADS = min(4, os.cpu_count() or 1)  # unpacking runs outside the interpreter's lock
REMEDIES = {
    "`tilt: keep` in dataset.yaml": "Convert the series again with --tilt resample, or pass --tilt keep.",
    "`labels:` in dataset.yaml": "Name them with --labels, or correct the file.",
}


@dataclass(frozen=True)
class Imported:
    """What an import made: the path of `dataset.yaml`, numbers for the screen, and what the user must know."""

    path: Path
    cases: int
    raters: tuple[str, ...]
    notes: tuple[str, ...]


def import_(
    format: str,
    source: str | Path,
    out: str | Path,
    *,
    copy: bool = False,
    sources: str | Path | None = None,
    overwrite: bool = False,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - frozen
    progress: Progress = lambda what, done, total, note: None,
) -> Imported:
    """Imports the data set in the folder `source` as `out/dataset.yaml`.

    Every label file is read, its values and its grid are checked against names and image, and the faults of all cases
    are raised together; then nothing stays in `out`.

    Args:
        format: a layout of `LAYOUTS`.
        copy: write images and labels into `out` as NIfTI without anything but voxels and position in the header.
        sources: a CSV file for the private key from case to source; keep it apart from the data set.

    Raises:
        UsageError: an unknown layout, an option that it does not take, or `out` holds the source.
        OutputExistsError: `out` holds something, or the key is there already.
        InputError: the source does not fit its layout; a fault alone keeps its own kind.
        WriteError: the disk refused.
    """
    source, out = Path(source), Path(out)
    importer = find_importer(format)
    importer.check(options, format)
    _check_places(source, out, sources, overwrite=overwrite)
    layout = importer.find(source, options)
    known_labels(options.partial, layout.labels, "--partial")
    with whole_folder(out, kind=KIND, overwrite=overwrite) as root:
        entries = _import_cases(layout, _Writer(root, layout, copy, options), progress)
        if layout.regions is not None:
            write_regions(root, layout.regions)
        if sources is not None:
            _write_key(_inside(Path(sources), out, root), layout, entries)
        write_dataset(Dataset(root, layout.labels, layout.raters, entries, layout.anonymous))
    return Imported(out / FILE_NAME, len(entries), layout.raters, layout.notes)


def suggest_rois(source: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a `rois.yaml` to begin with, of the names of all regions in a tree of DICOM files; returns its path.

    Raises:
        OutputExistsError: the file exists and `overwrite` is False.
        FileReadError, DicomError, UsageError: a damaged file, or no structure set and no segmentation in the tree.
        WriteError: the disk refused.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise OutputExistsError("the file exists", where=out.name, do="Choose another name, or pass --overwrite.")
    write_text(out, dicom_tree.suggest_rois(source))
    return out


def _check_places(source: Path, out: Path, sources: str | Path | None, *, overwrite: bool) -> None:
    check_output_folder(out, kind=KIND, overwrite=overwrite)
    if source.resolve().is_relative_to(out.resolve()):
        raise UsageError("the output folder holds the source", where=out.name, do="Choose another --out.")
    if sources is not None and Path(sources).exists() and not overwrite:
        raise OutputExistsError("the private key is there already", where=Path(sources).name,
                                do="Choose another --sources, or pass --overwrite.")  # fmt: skip


@dataclass(frozen=True)
class _Writer:
    """Checks one case after the other and writes what has to be written of it."""

    root: Path
    layout: Layout
    copy: bool
    options: ImportOptions

    def case(self, case_id: str, patient: str, found: FoundCase) -> tuple[CaseEntry | None, list[InputError]]:
        """The case's entry, or its faults."""
        faults = Faults()
        image, options, grid = found.image, found.image_options, None
        raters: dict[str, LabelFile] = {}
        with faults.gathered():
            found = replace(found, image_options=self._image_options(found))
            image, options, grid = self._image(case_id, found)
        folders = safe_names(list(self.layout.raters))
        for rater, reading in found.raters.items():
            with faults.gathered():
                target = self.root / "labels" / folders[rater] / f"{case_id}.nii.gz"
                raters[rater] = self._labels(found, rater, reading, grid, target)
        if faults.found:
            return None, [_remedied(fault) for fault in faults.found]
        return CaseEntry(case_id, image, raters, None, patient, found.group, found.split, options), []

    def _image_options(self, found: FoundCase) -> ImageOptions:
        """How the image is read; a DICOM layout says so itself, for files it is as the user says.

        Raises:
            UsageError: files cannot be read as the user says.
        """
        reader = find_reader(found.image, where=found.name if found.image.is_dir() else self.layout.shown(found.image))
        if "series" in reader.options:
            return found.image_options
        wish = replace(found.image_options, tilt=self.options.tilt, nan_hu=self.options.nan_hu)
        for name, value in wish.reading.items():
            if name not in reader.options or value not in (reader.options[name] or (value,)):
                raise UsageError(f"{name} {value} means nothing for this kind of image", where=found.image.name,
                                 expected=reader.options_text)  # fmt: skip
        return wish

    def _image(self, case_id: str, found: FoundCase) -> tuple[Path, ImageOptions, Geometry]:
        # folders of DICOM series are often called like patients
        where = found.name if found.image.is_dir() else self.layout.shown(found.image)
        reader, options = find_reader(found.image, where=where), found.image_options
        if not self.copy:
            return found.image, options, reader.grid(found.image, where=where, **options.reading)
        target = self.root / "images" / f"{case_id}.nii.gz"
        volume = reader.read(found.image, where=where, **options.reading)
        return target, copy_image(volume, found.image, target, options), volume.geometry

    def _labels(
        self, found: FoundCase, rater: str, reading: LabelFile | Derived, grid: Geometry | None, target: Path
    ) -> LabelFile:
        if isinstance(reading, Derived):
            drawn = self._partial(reading.make())
            where = f"{found.name}, {rater}"
            if drawn.on_part and grid is not None and grid.differences(drawn.reading.geometry):
                drawn = replace(drawn, reading=placed(drawn.reading, grid, where=where))
            self._check_grid(grid, drawn.reading, where)
            return write_drawn(drawn, target)
        for path in reading.paths:
            if not os.path.isfile(path):  # also a link whose target is gone, and what is no plain file
                raise FileReadError("no such file", where=self.layout.shown(path), do="Copy the data again.")
        file = reading if reading.labelled is not None else replace(reading, labelled=self.options.partial)
        where, tilt = self.layout.shown(file.paths[0]), found.image_options.label_tilt
        self._check_grid(grid, _read(file, self.layout, tilt, where), where)
        return copy_labels(file, target, tilt, where) if self.copy else file

    def _partial(self, drawn: Drawn) -> Drawn:
        if drawn.reading.labelled is not None or self.options.partial is None:
            return drawn
        return replace(drawn, reading=replace(drawn.reading, labelled=self.options.partial))

    def _check_grid(self, grid: Geometry | None, reading: Reading, where: str) -> None:
        if grid is not None:
            check_same_grid(grid, reading.geometry, where=where)


def _read(file: LabelFile, layout: Layout, tilt: Shear, where: str) -> Reading:
    labels, labelled, slices_read = layout.labels, file.labelled, file.slices_read
    if file.path is None:
        return read_regions(file.masks, labels, where=where, labelled=labelled, slices_read=slices_read, tilt=tilt)
    return read_labels(file.path, labels, where=where, labelled=labelled, slices_read=slices_read, tilt=tilt)


def _remedied(fault: InputError) -> InputError:
    """The fault with what to do about it on import; the readers' own advice is for an edited `dataset.yaml`."""
    for advice, option in REMEDIES.items():
        if advice in fault.do:
            return type(fault)(fault.what, where=fault.where, expected=fault.expected, got=fault.got, do=option)
    return fault


def _import_cases(layout: Layout, writer: _Writer, progress: Progress) -> tuple[CaseEntry, ...]:
    """The entries of all cases, or every fault of the source in one error."""
    ids, patients = _numbers("c", len(layout.cases)), _patients(layout.cases)
    entries, faults = [], Faults(layout.faults)
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(writer.case, ids, patients, layout.cases)
        for number, (entry, found) in enumerate(results, start=1):
            faults.found += found
            entries += [entry] if entry is not None else []
            progress("Importing", number, len(ids), ids[number - 1])
    faults.raise_all()
    if not entries:
        raise InputError("no case", where=layout.root.name, do="Check the path.")
    return tuple(entries)


def _numbers(letter: str, count: int) -> list[str]:
    """Running numbers of at least four digits."""
    return [f"{letter}{number:0{max(4, len(str(count)))}d}" for number in range(1, count + 1)]


def _patients(cases: Sequence[FoundCase]) -> list[str]:
    """A running number for each patient, "" where the layout knows none."""
    keys = list(dict.fromkeys(case.patient for case in cases if case.patient))
    numbers = dict(zip(keys, _numbers("p", len(keys)), strict=True))
    return [numbers.get(case.patient, "") for case in cases]


def _inside(path: Path, out: Path, root: Path) -> Path:
    """The same place in the folder that is being filled, for a path inside `out`."""
    absolute, folder = Path(os.path.abspath(path)), Path(os.path.abspath(out))
    return root / absolute.relative_to(folder) if absolute.is_relative_to(folder) else path


def _write_key(path: Path, layout: Layout, entries: Sequence[CaseEntry]) -> None:
    rows = [{"case": entry.id, "patient": entry.patient, "source": shown(found.image, layout.root)}
            for entry, found in zip(entries, layout.cases, strict=True)]  # fmt: skip
    write_csv(path, rows, ("case", "patient", "source"), private=True)
