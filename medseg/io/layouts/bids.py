"""A BIDS data set with CT images and segmentations in `derivatives`.

Images: `[rawdata/]sub-01/[ses-1/]ct/sub-01_ct.nii.gz`. Segmentations in `derivatives/<pipeline>/sub-01/...`:
`sub-01_dseg.nii.gz` with a label table `*dseg.tsv`, or a mask for each structure, `sub-01_label-liver_mask.nii.gz`
(kept apart, so they may overlap). VerSe's `_msk` counts as `_dseg`. Probability maps are refused: a threshold is not
ours to guess.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import FileReadError, InputError, LabelError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.io.layouts.bids_names import BidsFile, read_label_tables, subjects_files
from medseg.io.layouts.label_names import FORM, build_label_set, given_labels
from medseg.io.layouts.layout import Faults, FoundCase, ImportOptions, Layout, check_source, listed, shown
from medseg.io.layouts.source_files import missing, visible
from medseg.io.manifest import LabelFile

NAME = "bids"
PIPELINE, EACH = "pipeline", "each"
LABEL_MAPS, MASK, PROBABILITIES = ("dseg", "msk"), "mask", "probseg"
SEGMENTATIONS = (*LABEL_MAPS, MASK, PROBABILITIES)


@dataclass(frozen=True)
class Names:
    """Label set, and the structure that a mask's `label-` entity stands for."""

    labels: LabelSet
    abbreviations: Mapping[str, str]

    def structure(self, label: str) -> str | None:
        name = self.abbreviations.get(label, label)
        return name if name in self.labels.foreground else None


def find_bids(source: Path, options: ImportOptions) -> Layout:
    """The CT images of a BIDS data set, a case each, with the segmentations made of them.

    Sessions of one subject are cases of one patient. Who read a segmentation is told by `rater_from`; without it, all
    segmentations must be of one kind.

    Raises:
        FileReadError: no such folder, no CT image in it, or nothing names the values.
        UsageError: `rater_from` is needed, or `raters` names one that is not there.
        LabelError: label tables that contradict each other.
    """
    check_source(source, NAME)
    faults = Faults()
    raw = [file for base in (source, source / "rawdata") for file in subjects_files(base)]
    images = _images([file for file in raw if file.suffix not in SEGMENTATIONS], source, options, faults)
    segmentations = [file for file in [*raw, *_derivatives(source)] if file.suffix in SEGMENTATIONS]
    raters = _by_rater(segmentations, options, source, faults)
    used = [file for files in raters.values() for file in files]
    names = _names(used, source, options)
    readings: dict[Path, dict[str, list[BidsFile]]] = defaultdict(lambda: defaultdict(list))
    for rater, files in raters.items():
        for file in files:
            with faults.gathered():
                readings[_image_of(file, images, source).path][rater].append(file)
    cases = [_case(image, readings.get(image.path, {}), names, source, faults) for image in images]
    unread = [case.name for case in cases if not case.raters]
    notes = (f"{len(unread)} cases have no rater: {listed(unread)}",) if unread else ()
    return Layout(source, names.labels, tuple(raters), tuple(cases), notes=notes, faults=tuple(faults.found))


def _derivatives(source: Path) -> list[BidsFile]:
    folder = source / "derivatives"
    pipelines = [path for path in visible(folder) if path.is_dir() and not path.name.startswith("sub-")]
    below = [file for path in pipelines for file in subjects_files(path, path.name)]
    return [*subjects_files(folder), *below]


def _images(files: Sequence[BidsFile], source: Path, options: ImportOptions, faults: Faults) -> list[BidsFile]:
    """One CT image for each session; several are a fault unless the user chose with `only`."""
    sessions: dict[tuple[str, str], list[BidsFile]] = defaultdict(list)
    for file in files:
        sessions[file.session].append(file)
    wanted = options.only
    chosen = []
    for found in sessions.values():
        matching = [file for file in found if wanted in (None, EACH) or file.has(wanted)]
        cts = [file for file in matching if file.suffix.lower() == "ct"]
        if (len(cts) > 1 and wanted != EACH) or (wanted is None and len(found) != len(cts)):
            faults.add(
                InputError(
                    f"{len(found)} images of one session, and a case is one CT",
                    where=shown(found[0].path.parent, source),
                    got=listed([file.path.name for file in found]),
                    do="Choose with --only: an entity such as acq-venous, `ct`, or `each` for a case of each CT.",
                )
            )
        chosen += cts
    if not chosen:
        raise FileReadError(
            "no CT image",
            where=source.name,
            expected="sub-01/ct/sub-01_ct.nii.gz, also in rawdata",
            got=f"{len(files)} other images" if files else "",
            do="Check the path, or --only.",
        )
    faults.found += [missing(file.path, source, "linked") for file in chosen if not file.path.is_file()]
    return sorted(chosen, key=lambda file: (file.session, file.path.name))


def _by_rater(
    files: Sequence[BidsFile], options: ImportOptions, source: Path, faults: Faults
) -> dict[str, list[BidsFile]]:
    """Rater to segmentations, as `rater_from` tells them."""
    if options.rater_from is None:
        kinds = {(file.pipeline, file.entities.get("desc", "")) for file in files}
        if len(kinds) > 1:
            pipelines, descs = (sorted({kind[index] for kind in kinds} - {""}) for index in (0, 1))
            raise UsageError("several kinds of segmentation, and nothing says who read which", where=source.name,
                             got=f"pipelines {listed(pipelines) or 'none'}; desc {listed(descs) or 'none'}",
                             do="Pass --rater-from pipeline, or an entity such as desc.")  # fmt: skip
        return {options.rater: list(files)} if files else {}
    found: dict[str, list[BidsFile]] = defaultdict(list)
    for file in files:
        told = file.pipeline if options.rater_from == PIPELINE else file.entities.get(options.rater_from, "")
        if told:
            found[told].append(file)
        else:
            faults.add(
                LabelError(
                    "the name does not tell the rater",
                    where=shown(file.path, source),
                    expected=f"a {options.rater_from}",
                    do="Pass another --rater-from.",
                )
            )
    if files and not found:
        entities = sorted({name for file in files for name in file.entities})
        raise UsageError(f"no segmentation's name has a {options.rater_from}", where="--rater-from",
                         expected=f"one of {', '.join([PIPELINE, *entities])}", do="Pass one of them.")  # fmt: skip
    if unknown := [name for name in options.raters if name not in found]:
        raise UsageError(f"no rater '{unknown[0]}'", where="--raters", expected="one of " + ", ".join(sorted(found)))
    return {name: found[name] for name in sorted(found) if not options.raters or name in options.raters}


def _names(files: Sequence[BidsFile], source: Path, options: ImportOptions) -> Names:
    """Names from the user, the label tables, or, where there are masks only, their `label-` entities."""
    tables, abbreviations = read_label_tables(files, source)
    labels = given_labels(options.labels) or tables
    if labels is None and files and all(file.suffix == MASK for file in files):
        structures = sorted({file.entities["label"] for file in files if "label" in file.entities})
        labels = build_label_set(
            {name: value for value, name in enumerate(structures, start=1)}, where="label- entities"
        )
    if labels is None:
        raise FileReadError("nothing names the label values", where=source.name,
                            expected="a dseg.tsv with index and name",
                            do=f"Add one, or pass --labels: {FORM}.")  # fmt: skip
    return Names(labels, abbreviations)


def _image_of(file: BidsFile, images: Sequence[BidsFile], source: Path) -> BidsFile:
    """The image of which a segmentation was made: of its session, with all its source entities.

    Raises:
        InputError: none or several, or the segmentation lies in another space.
    """
    where = shown(file.path, source)
    if (space := file.entities.get("space", "orig")) != "orig":
        raise InputError("a segmentation in another space than its image", where=where, got=f"space-{space}",
                         do="Take it out, or bring it back to the image's grid.")  # fmt: skip
    same = [image for image in images if file.source_entities <= set(image.entities.items())]
    exact = [image for image in same if file.source_entities == set(image.entities.items())]
    fitting = exact or same
    if len(fitting) != 1:
        raise InputError(
            "several images that it may be of" if fitting else "a segmentation without an image",
            where=where,
            got=listed([image.path.name for image in fitting]),
            do="Repeat the image's entities in its name." if fitting else "Add the image, or take it out.",
        )
    return fitting[0]


def _case(
    image: BidsFile, readings: Mapping[str, Sequence[BidsFile]], names: Names, source: Path, faults: Faults
) -> FoundCase:
    raters = {}
    for rater, files in readings.items():
        with faults.gathered():
            raters[rater] = _reading(files, names, source)
    return FoundCase(shown(image.path, source), image.path, raters, patient=image.session[0])


def _reading(files: Sequence[BidsFile], names: Names, source: Path) -> LabelFile:
    """The one label map, or the masks of different structures.

    Raises:
        InputError: probabilities, several label maps, or masks beside a label map.
        LabelError: a mask of an unknown structure, or two of the same.
    """
    first = shown(files[0].path, source)
    if probabilities := [file for file in files if file.suffix == PROBABILITIES]:
        raise InputError("a probability map is no reading", where=shown(probabilities[0].path, source),
                         expected="_dseg or _mask", do="Threshold it yourself, or take it out.")  # fmt: skip
    for file in files:
        if not file.path.is_file():
            raise missing(file.path, source, "linked")
    if len(files) == 1 and files[0].suffix in LABEL_MAPS:
        return LabelFile(files[0].path)
    if any(file.suffix in LABEL_MAPS for file in files):
        raise InputError("several segmentations of one rater and image", where=first,
                         expected="one _dseg, or masks only", got=listed([file.path.name for file in files]),
                         do="Pass another --rater-from, or take the others out.")  # fmt: skip
    masks: dict[str, Path] = {}
    for file in files:
        name = names.structure(file.entities.get("label", ""))
        if name is None or name in masks:
            raise LabelError("a mask of no known structure" if name is None else f"two masks of '{name}'",
                             where=shown(file.path, source), got=file.entities.get("label", "no label- entity"),
                             expected="one mask for each of " + ", ".join(names.labels.foreground))  # fmt: skip
        masks[name] = file.path
    return LabelFile(masks=masks)
