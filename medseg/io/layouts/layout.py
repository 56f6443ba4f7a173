"""What an importer finds in a folder of a known layout: cases, raters and label names, before anything is written.

A reading is either referred to (`LabelFile`, a file of the source that holds it as it is) or made (`Derived`, for
example one annotator's label map out of a mask file for each lesion); what is made is written as NIfTI on import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from medseg.config import nearest
from medseg.errors import FileReadError, InputError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import Reading
from medseg.io.layouts.region_table import RegionTable
from medseg.io.manifest import ImageOptions, LabelFile
from medseg.io.manifest_schema import Gaps, Tilt
from medseg.io.roi_names import RoiRules

LISTED = 5  # names or faults shown in an error, before "and N more"
CHOICES = {
    "kits_labels": ("annotations", "aggregated"), "tilt": get_args(Tilt), "gaps": get_args(Gaps),
    "trust": ("all", "frame", "images", "positions"), "crossing": ("refuse", "union", "xor"),
}  # fmt: skip
PLAIN = ImageOptions()
REFERENCE = "reference"  # the rater's name where a layout holds one reading of a case and does not say whose


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a source; each layout takes the options that its row in `LAYOUTS` lists.

    Args:
        labels: names and values, as a `LabelSet`, a YAML file or `liver=1,kidney=2`; instead of the layout's own.
        partial: the only structures that were looked for; the others are missing, not empty.
        rater: name of the rater where the layout holds one reading of a case.
        raters: take only these raters.
        rater_from: BIDS: who read a file is told by its `pipeline` folder or by an entity such as `desc`.
        only: of several channels or phases take this one: a channel's name, or an entity such as `acq-venous`.
        assume_ct: the one channel holds HU although its name is not CT.
        kits_labels: KiTS: one reading for each of the three `annotations`, or the `aggregated` one.
        nan_hu: HU for voxels that an image file leaves undefined (NaN); without it they are refused.
        rois: DICOM: what the regions of structure sets and the segments of SEG files become (`roi_names.RoiRules`).
        trust: DICOM: instead of `trust` in `rois`: what suffices as a tie between a structure set and its CT.
        crossing: DICOM: instead of `crossing` in `rois`: what becomes of contours of one region that overlap in part.
        fill_slices: DICOM: interpolate outlines on slices that a region leaves out.
        threshold: DICOM: from which fraction on a voxel of a fractional SEG belongs to the segment.
        show_paths: DICOM: name files by their paths in messages, although these may be called like patients.
        tilt: what becomes of a gantry tilt; files that were stored tilted (sheared axes) are read with `keep`.
        gaps: DICOM: what becomes of missing slices, see `dicom.read_series`.
    """

    labels: LabelSet | str | Path | None = None
    partial: tuple[str, ...] | None = None
    rater: str = REFERENCE
    raters: tuple[str, ...] = ()
    rater_from: str | None = None
    only: str | None = None
    assume_ct: bool = False
    kits_labels: Literal["annotations", "aggregated"] | None = None
    nan_hu: float | None = None
    rois: RoiRules | str | Path | None = None
    trust: str | None = None
    crossing: str | None = None
    fill_slices: bool = False
    threshold: float | None = None
    show_paths: bool = False
    tilt: Tilt | None = None
    gaps: Gaps | None = None

    def __post_init__(self) -> None:
        for name, values in CHOICES.items():
            if (value := getattr(self, name)) not in (None, *values):
                raise UsageError(
                    f"{_flag(name)} cannot be '{value}'{nearest(value, values)}", expected=" or ".join(values)
                )

    @property
    def rule_overrides(self) -> dict[str, str]:
        """What replaces a key of `rois`."""
        given = {"trust": self.trust, "crossing": self.crossing}
        return {key: value for key, value in given.items() if value is not None}

    def given(self) -> list[str]:
        """Names of the options that differ from their defaults."""
        return [option.name for option in fields(self) if getattr(self, option.name) != option.default]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A reading that was made, and what the data set keeps of its origin; see `LabelFile` for source to invented.

    Args:
        on_part: its grid may be a part of the image's, which is then filled with background.
    """

    reading: Reading
    source: Mapping[str, Any] = field(default_factory=dict)
    filled: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    invented: tuple[int, ...] = ()
    on_part: bool = False


@dataclass(frozen=True)
class Derived:
    """A reading that no file of the source holds as it is; `make` reads what it needs and draws it.

    `make` raises an InputError that names the file when it cannot.
    """

    make: Callable[[], Drawn]


@dataclass(frozen=True)
class FoundCase:
    """One case of the source.

    Args:
        name: what the source calls it; for messages and the private key only.
        image: the file or folder of its CT.
        raters: rater to reading; who is not in it is missing.
        patient: what the source knows the patient by, "" when it does not tell; groups cases, never written.
        split: `train`, `test` or another, or None.
        group: site or scanner, or None.
        image_options: how the image is read.
    """

    name: str
    image: Path
    raters: Mapping[str, LabelFile | Derived] = field(default_factory=dict)
    patient: str = ""
    split: str | None = None
    group: str | None = None
    image_options: ImageOptions = PLAIN


@dataclass(frozen=True)
class Layout:
    """Everything found in a source.

    Args:
        root: the source; messages show files relative to it.
        labels: names and values.
        raters: all raters, in order.
        cases: in the order in which they get their running numbers.
        anonymous: a rater's name is another person in every case.
        regions: unions of labels that the source declares besides.
        notes: what the user must know, a sentence each.
        faults: what is wrong with single cases; the import raises them together with the faults of the voxels.
    """

    root: Path
    labels: LabelSet
    raters: tuple[str, ...]
    cases: tuple[FoundCase, ...]
    anonymous: bool = False
    regions: RegionTable | None = None
    notes: tuple[str, ...] = ()
    faults: tuple[InputError, ...] = ()

    def shown(self, path: Path) -> str:
        """A file's name for messages: relative to the source, or the bare name when it lies outside."""
        return shown(path, self.root)


@dataclass(frozen=True)
class Importer:
    """One layout: how to find its cases, and the options that it takes.

    Args:
        find: `(source, options) -> Layout`; reads names and small text files, no voxels.
        options: names of the fields of `ImportOptions` that mean something here.
        title: the data sets that have this layout, for the help text.
    """

    find: Callable[[Path, ImportOptions], Layout]
    options: tuple[str, ...]
    title: str

    def check(self, options: ImportOptions, name: str) -> None:
        """Refuses options that would be ignored.

        Raises:
            UsageError: an option is given that this layout does not take.
        """
        if foreign := [option for option in options.given() if option not in self.options]:
            taken = ", ".join(_flag(option) for option in self.options)
            raise UsageError(f"{_flag(foreign[0])} means nothing for the layout '{name}'", expected=f"one of {taken}",
                             do="Take the option out.")  # fmt: skip


class Faults:
    """Collects the faults of all cases, so that one error can tell them together."""

    def __init__(self, found: Sequence[InputError] = ()) -> None:
        self.found = list(found)

    def add(self, fault: InputError) -> None:
        self.found.append(fault)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keeps an InputError of the block instead of raising it; other errors pass."""
        try:
            yield
        except InputError as error:
            self.found.append(error)

    def raise_all(self) -> None:
        """Raises what was collected: a single fault as it is, several as one error with the first five and their count.

        Equal faults are told once: one series that several structure sets need, one rule that is missing for all.

        Raises:
            InputError: of the faults' own kind when they are all of one kind.
        """
        found = [_merged(group) for group in _equal(self.found)]
        if len(found) == 1:
            raise found[0]
        if found:
            kinds = {type(fault) for fault in found}
            kind = kinds.pop() if len(kinds) == 1 else InputError
            told = [str(type(fault)(fault.what, where=fault.where, expected=fault.expected, got=fault.got))
                    for fault in found[:LISTED]]  # fmt: skip
            more = [f"and {len(found) - LISTED} more"] if len(found) > LISTED else []
            remedies = dict.fromkeys(fault.do for fault in found[:LISTED] if fault.do)
            raise kind(f"{len(found)} faults: " + " | ".join([*told, *more]), do=" ".join(remedies))


def _equal(faults: Sequence[InputError]) -> Iterator[list[InputError]]:
    """Faults that differ in their place at most, together."""
    groups: dict[tuple[object, ...], list[InputError]] = {}
    for fault in faults:
        key = type(fault), fault.what, fault.expected, fault.got, fault.do
        groups.setdefault(key, []).append(fault)
    yield from groups.values()


def _merged(faults: Sequence[InputError]) -> InputError:
    """One fault that names all its places."""
    places = list(dict.fromkeys(fault.where for fault in faults))
    if len(places) == 1:
        return faults[0]
    first = faults[0]
    return type(first)(first.what, where=listed(places), expected=first.expected, got=first.got,
                       do=first.do)  # fmt: skip


def shown(path: Path, root: Path) -> str:
    """A file's name for messages: relative to `root`, or the bare name when it lies outside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """The first names and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_source(source: Path, layout: str) -> None:
    """Refuses a source that is no folder.

    Raises:
        FileReadError: nothing is there, or it is a file.
    """
    if not source.is_dir():
        what = "the source is a file" if source.exists() else "no such folder"
        raise FileReadError(what, where=source.name, expected=f"a folder of the layout '{layout}'",
                            do="Check the path; archives are unpacked first.")  # fmt: skip


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
