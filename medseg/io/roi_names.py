"""`rois.yaml`: which label each region of interest becomes, and whose reading it is.

Nothing is guessed: a name that no rule knows, a name that two rules know, and two regions for one label are refused
together in one message, with standard names to choose from and lines to paste. For example:

```yaml
labels:                                    # in the order of the data set; values are those of the files written
  liver: {value: 1, match: ["liver", "hepar.*"]}
  kidney_left: {value: 2, match: "(lt|left).?kidney|kidney.?l"}
  lesions: {value: 3, match: "gtv.*", several: unite, gaps: keep}
ignore: ["body", "couch.*", "ptv.*"]
overlap: priority
priority: [lesions, liver, kidney_left]
rater: {from: file, pattern: "RS_(?P<rater>[A-Z]+)"}
trust: all
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from medseg.config import Config, apply_overrides, build_config, nearest, read_yaml
from medseg.config_faults import as_config_error
from medseg.errors import LabelError
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.io.name_patterns import LONGEST_NAME, Pattern, Patterns, matches
from medseg.io.roi_suggestions import shown_name, snippet, suggest_rules
from medseg.io.tg263 import tg263_name

__all__ = ["FILE_NAME", "LabelRule", "RaterRule", "Region", "RoiRules", "read_roi_rules", "suggest_rules"]

FILE_NAME = "rois.yaml"
LABEL_NAME = r"^\w[\w.+@=\- ]*$"  # it becomes a file name, as does a rater's
LONGEST_PLACE = 255  # characters of a file's name
RATER_NAME = re.compile(r"\w[\w.+@=\- ]{0,63}")
RATER_PLACES = {"folder": "folder's name", "file": "file's name", "label": "StructureSetLabel"}
SHOWN_NAMES = 20  # in one message


class LabelRule(Config):
    """One label.

    Args:
        value: its value in the files that are written.
        match: regular expressions; a region whose whole name one of them matches, in any case, becomes this label.
        several: what to do with several such regions: refuse them, or `unite` them into one mask.
        gaps: `keep` when the structure may consist of parts above one another, so that no slice between is missing.
    """

    value: int = Field(ge=1, le=32767)
    match: Patterns = Field(min_length=1)
    several: Literal["refuse", "unite"] = "refuse"
    gaps: Literal["refuse", "keep"] = "refuse"


class RaterRule(Config):
    """Where the rater's name stands.

    Args:
        source: (`from:`) the `folder` that holds the file, the `file` name without suffix, the StructureSetLabel
            (`label`), the end of each region's name (`suffix`), or the one `name` of all.
        pattern: regular expression that is searched there; its group `rater`, else its first group, else all of it
            is the name. A suffix is what the expression finds at the end of a region's name.
        up: 1 is the folder that holds the file, 2 the one above.
        name: the rater of every file.
        names: found name to rater, for names that must not be shown.
    """

    source: Literal["folder", "file", "label", "suffix", "name"] = Field(alias="from")
    pattern: Pattern | None = None
    up: int = Field(default=1, ge=1, le=20)
    name: str | None = None
    names: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> RaterRule:
        if (self.source == "name") != (self.name is not None):
            raise ValueError("`from: name` and `name:` belong together")
        if self.source == "suffix" and self.pattern is None:
            raise ValueError("`from: suffix` needs a `pattern:`, for example '_(?P<rater>[A-Z]+)'")
        for rater in filter(None, (self.name, *self.names.values())):
            if not RATER_NAME.fullmatch(rater):
                raise ValueError(f"'{rater[:64]}' cannot be a rater's name: letters, digits and . + @ = - only")
        return self

    def rater(self, path: str | Path, label: str = "", *, where: str = "") -> str:
        """The rater of a whole file; empty where the regions' names tell it.

        Raises:
            LabelError: the name is not found there, or is none.
        """
        if self.source in ("suffix", "name"):
            return self.name or ""
        path = Path(path).absolute()
        folder = path.parents[self.up - 1].name if self.up <= len(path.parents) else ""
        told = {"folder": folder, "file": path.name.partition(".")[0], "label": label}[self.source].strip()
        found = re.search(self.pattern or ".*", told, re.IGNORECASE) if len(told) <= LONGEST_PLACE else None
        if not found:
            raise LabelError(f"the {RATER_PLACES[self.source]} does not tell the rater", where=where,
                             expected=f"a match of {self.pattern}", do=f"Mend `rater:` in {FILE_NAME}.")  # fmt: skip
        rater = self._named(found)
        if not RATER_NAME.fullmatch(rater):
            raise LabelError(f"the {RATER_PLACES[self.source]} tells no name that can be used for the rater",
                             where=where, expected="letters, digits and . + @ = - only",
                             do=f"Give `pattern:` or `names:` under `rater:` in {FILE_NAME}.")  # fmt: skip
        return rater

    def was_read(self, rater: str) -> bool:
        """Whether a name was read from a path or a label, where a patient's may stand, and not typed by the user."""
        return self.source in RATER_PLACES and rater not in self.names.values()

    def split(self, name: str) -> tuple[str, str] | None:
        """A region's name without its suffix, and the rater whom it tells; None when there is no such suffix.

        Where no suffix is asked for, the whole name and an empty rater.
        """
        if self.source != "suffix":
            return name, ""
        found = re.search(f"(?:{self.pattern})\\Z", name, re.IGNORECASE) if len(name) <= LONGEST_NAME else None
        rater = self._named(found) if found else ""
        return (name[: found.start()].strip(), rater) if found and RATER_NAME.fullmatch(rater) else None

    def _named(self, found: re.Match[str]) -> str:
        group = "rater" if "rater" in found.groupdict() else min(found.re.groups, 1)
        told = (found.group(group) or "").strip()
        return self.names.get(told, told)


class Region(NamedTuple):
    """What a region of interest becomes; the rater is empty unless its name tells it."""

    label: str
    rater: str = ""


class RoiRules(Config):
    """The whole file.

    Args:
        labels: name to rule, in the order of the data set.
        ignore: regular expressions of the names of regions that are left out.
        unmatched: `ignore` leaves out what no rule knows; refused otherwise.
        empty: what a region without any contour means: `missing`, the rater did not look for it, or `absent`.
        crossing: contours of one region that overlap in part on a slice: refused, combined by the even-odd rule
            (`xor`), or counted as what they cover together (`union`).
        trust: what suffices as a tie to the CT. `all`: the structure set names the series and the frame of reference,
            and its contours the images. `frame`: it lies in the same frame of reference; `images`: its contours name
            images of the series; `positions`: nothing, the contours lie on the slices.
        mirror_pairs: labels that a left/right flip turns into each other.
        overlap: labels that share voxels are refused, kept `separate` (masks of their own), or merged by `priority`.
        priority: labels of which the first wins where they overlap.
        rater: where the rater's name stands; None leaves it to the caller.
    """

    labels: dict[str, LabelRule] = Field(min_length=1)
    ignore: Patterns = ()
    unmatched: Literal["refuse", "ignore"] = "refuse"
    empty: Literal["missing", "absent"] = "missing"
    crossing: Literal["refuse", "xor", "union"] = "refuse"
    trust: Literal["all", "frame", "images", "positions"] = "all"
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    overlap: Literal["refuse", "separate", "priority"] = "refuse"
    priority: tuple[str, ...] = ()
    rater: RaterRule | None = None

    @property
    def label_set(self) -> LabelSet:
        """The labels as those of a data set; the background is 0."""
        values = {BACKGROUND: 0, **{name: rule.value for name, rule in self.labels.items()}}
        return LabelSet(values, self.mirror_pairs)

    def match(self, names: Sequence[str], *, where: str = "") -> dict[str, Region]:
        """The label of every region that is not ignored, by the region's name.

        Raises:
            LabelError: listing all names that no rule or more than one rule knows, and all regions that share a label.
        """
        found: dict[str, Region] = {}
        unknown: list[str] = []
        double: list[str] = []
        for name in dict.fromkeys(names):
            region, rivals = self._region(name)
            if len(rivals) > 1:
                double.append(f"{shown_name(name)} ({' and '.join(rivals)})")
            elif region:
                found[name] = region
            elif not rivals and self.unmatched == "refuse":
                unknown.append(name)
        shared = self._shared(names, found)
        if unknown or double or shared:
            raise self._refusal(unknown, double, shared, where)
        return found

    def _split(self, name: str) -> tuple[str, str] | None:
        return self.rater.split(name) if self.rater else (name, "")

    def _region(self, name: str) -> tuple[Region | None, list[str]]:
        """What a name becomes, and every rule that knows it; a rater's suffix is no part of the label's name."""
        ignored = ["ignore"] if matches(self.ignore, name) else []
        split = self._split(name)
        if split is None:
            return None, ignored
        stem, rater = split
        labels = [label for label, rule in self.labels.items() if matches(rule.match, stem)]
        return (Region(labels[0], rater) if labels else None), [*labels, *ignored]

    def _shared(self, names: Sequence[str], found: dict[str, Region]) -> list[str]:
        """Labels that several regions of one rater would become, unless their rule unites them."""
        regions: dict[Region, list[str]] = {}
        for name in (name for name in names if name in found):
            regions.setdefault(found[name], []).append(name)
        return [f"{' and '.join(map(shown_name, several))} ({region.label})" for region, several in regions.items()
                if len(several) > 1 and self.labels[region.label].several == "refuse"]  # fmt: skip

    def _refusal(self, unknown: Sequence[str], double: Sequence[str], shared: Sequence[str], where: str) -> LabelError:
        facts, steps = [], []
        if unknown:
            stems = [(self._split(name) or (name, ""))[0] for name in unknown]
            facts.append(f"no rule knows {_some([self._told(name) for name in unknown])}")
            steps.append(f"Add to {FILE_NAME}: {snippet(stems, self.label_set.values)}.")
        if double:
            facts.append(f"several rules know {_some(double)}")
            steps.append("Make the expressions narrower.")
        if shared:
            facts.append(f"one label for {_some(shared)}")
            steps.append("Add one of them to `ignore:`, or let the label take all with `several: unite`.")
        return LabelError("the names of the regions do not fit the rules", where=where,
                          expected="one rule for each region, one region for each label", got="; ".join(facts),
                          do=" ".join(steps))  # fmt: skip

    def _told(self, name: str) -> str:
        split = self._split(name)
        if split is None:
            return f"{shown_name(name)} (no rater's suffix)"
        standard = tg263_name(split[0])
        return f"{shown_name(name)} (TG-263: {standard})" if standard else shown_name(name)


def read_roi_rules(path: str | Path, overrides: Sequence[str] = ()) -> RoiRules:
    """The rules of a `rois.yaml`, with `key=value` overrides such as `trust=frame` on top.

    Raises:
        FileReadError: it cannot be read.
        ConfigError: the first fault, with file, line and key.
    """
    data = read_yaml(path)
    source = Path(path).name
    overridden = apply_overrides(data, overrides)
    rules = build_config(RoiRules, data, source=source, overridden=overridden)
    if faults := list(_faults(rules)):
        error = ValidationError.from_exception_data(FILE_NAME, faults)
        raise as_config_error(error, RoiRules, data, source, overridden)
    return rules


def _faults(rules: RoiRules) -> Iterator[InitErrorDetails]:
    """What the types alone cannot say, each with the key at which it stands."""
    for name in rules.labels:
        if name == BACKGROUND or not re.match(LABEL_NAME, name):
            yield _fault(("labels", name), "no name for a label: letters, digits and . + @ = - only, not 'background'")
    try:
        rules.label_set  # noqa: B018 - it checks the values and the mirror pairs
    except LabelError as error:
        yield _fault(("labels",), str(error))
    for index, name in enumerate(rules.priority):
        if name not in rules.labels:
            yield _fault(("priority", index), f"unknown label '{name}'{nearest(name, rules.labels)}")
    if (rules.overlap == "priority") != bool(rules.priority):
        yield _fault(("priority",) if rules.priority else ("overlap",),
                     "`overlap: priority` and the list `priority:` belong together")  # fmt: skip


def _fault(key: tuple[str | int, ...], message: str) -> InitErrorDetails:
    return InitErrorDetails(type="value_error", loc=key, input=None, ctx={"error": ValueError(message)})


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN_NAMES} more" if len(texts) > SHOWN_NAMES else ""
    return ", ".join(texts[:SHOWN_NAMES]) + more
