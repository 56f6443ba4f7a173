"""What may stand in a `dataset.yaml`, and the faults that its types alone cannot name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from medseg.config import Config, build_config, nearest, read_yaml
from medseg.config_faults import as_config_error
from medseg.errors import LabelError
from medseg.imaging.labels import BACKGROUND, LabelSet

SCHEMA = "medseg.dataset/1"
CASE_ID = r"^\w[\w.+@=\- ]*$"  # it becomes a file name: no slash, no leading dot
Key = tuple[str | int, ...]
Tilt = Literal["resample", "keep", "refuse"]  # of the readers: what becomes of a gantry tilt
Gaps = Literal["refuse", "resample"]  # of `dicom.read_series`: what becomes of missing or uneven slices
RelativePath = Annotated[str, Field(min_length=1)]
Facts = dict[str, Any]  # plain values, see `_plain_facts`


def _from_bare_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class ImageFile(Config):
    """The image of a case: a bare path, or a mapping that says which DICOM series is meant and how it is read."""

    path: RelativePath
    series: str | None = Field(default=None, min_length=1)
    tilt: Tilt | None = None
    gaps: Gaps | None = None
    nan_hu: FiniteFloat | None = None
    invented: tuple[NonNegativeInt, ...] = ()

    _bare = model_validator(mode="before")(_from_bare_path)


class RaterFile(Config):
    """One rater's reading of a case: a bare path, or a mapping with what was looked for, where, and where it is from.

    Either `path`, one label map, or `masks`, a binary file for each structure: those may overlap.
    """

    path: RelativePath | None = None
    masks: dict[str, RelativePath] | None = None
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None
    source: Facts = Field(default_factory=dict)
    filled: dict[str, tuple[NonNegativeInt, ...]] = Field(default_factory=dict)
    invented: tuple[NonNegativeInt, ...] = ()

    _bare = model_validator(mode="before")(_from_bare_path)

    @field_validator("source")
    @classmethod
    def _plain_facts(cls, source: Facts) -> Facts:
        for name, fact in source.items():
            if not all(isinstance(part, str | int | float) for part in (fact if isinstance(fact, list) else [fact])):
                raise ValueError(f"'{name}' is no word, no number and no list of those")
        return source


class CaseConfig(Config):
    """One entry under `cases:`."""

    id: str = Field(pattern=CASE_ID)
    patient: str | None = Field(default=None, min_length=1)
    group: str | None = None
    split: str | None = None
    image: ImageFile
    truth: RelativePath | None = None
    raters: dict[str, RaterFile] = Field(default_factory=dict)


class DatasetConfig(Config):
    """The whole file."""

    version: Literal["medseg.dataset/1"] = Field(alias="schema")
    labels: dict[str, int]
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    ignore: int | None = None
    raters: tuple[str, ...] = ()
    anonymous: bool = False
    cases: tuple[CaseConfig, ...]

    @field_validator("cases")
    @classmethod
    def _at_least_one(cls, cases: tuple[CaseConfig, ...]) -> tuple[CaseConfig, ...]:
        if not cases:
            raise ValueError("at least one case")
        return cases


def read_schema(path: Path) -> tuple[DatasetConfig, LabelSet]:
    """The checked content of a `dataset.yaml`.

    Raises:
        FileReadError: it cannot be read.
        ConfigError: the first fault, with file, line and key.
    """
    data = read_yaml(path)
    config = build_config(DatasetConfig, data, source=path.name)
    labels, faults = _label_set(config)
    if labels is None or (faults := [*faults, *_faults(config)]):
        error = ValidationError.from_exception_data(SCHEMA, faults)
        raise as_config_error(error, DatasetConfig, data, path.name, ())
    return config, labels


def _fault(key: Key, message: str) -> InitErrorDetails:
    return InitErrorDetails(type="value_error", loc=key, input=None, ctx={"error": ValueError(message)})


def _label_set(config: DatasetConfig) -> tuple[LabelSet | None, list[InitErrorDetails]]:
    try:
        return LabelSet(config.labels, config.mirror_pairs, config.ignore), []
    except LabelError as error:
        return None, [_fault(("labels",), str(error))]


def _faults(config: DatasetConfig) -> Iterator[InitErrorDetails]:
    """What the types alone cannot say, each with the key at which it stands."""
    for name, count in Counter(config.raters).items():
        if count > 1:
            yield _fault(("raters",), f"rater '{name}' is listed {count} times")
    seen: dict[str, int] = {}
    for index, case in enumerate(config.cases):
        if case.id in seen:
            yield _fault(("cases", index, "id"), f"case '{case.id}' is listed twice (also as cases.{seen[case.id]})")
        seen[case.id] = index
        for rater, file in case.raters.items():
            yield from _reading_faults(config, ("cases", index, "raters", rater), file)


def _reading_faults(config: DatasetConfig, key: Key, file: RaterFile) -> Iterator[InitErrorDetails]:
    rater = str(key[-1])
    if rater not in config.raters:
        listed = ", ".join(config.raters) or "none"
        yield _fault(key, f"a rater that `raters:` does not list{nearest(rater, config.raters)}; it lists {listed}")
    if (file.path is None) == (file.masks is None):
        yield _fault(key, "not either `path`, one label map, or `masks`, a binary file for each structure")
    for part, names in (("labelled", file.labelled), ("masks", file.masks), ("filled", file.filled)):
        for name in names or ():
            if name not in config.labels or (name == BACKGROUND and part != "labelled"):
                known = ", ".join(config.labels)
                yield _fault((*key, part), f"unknown label '{name}'{nearest(name, config.labels)}; known are {known}")
    if file.slices_read and not 0 <= file.slices_read[0] <= file.slices_read[1]:
        yield _fault((*key, "slices_read"), "not [first, last] with 0 <= first <= last")
