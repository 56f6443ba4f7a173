"""Names for all labels of a comparison, settled before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medseg.errors import UsageError
from medseg.evaluation.agreement import TRUTH
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.workflows.readings_sources import Naming, Source, label_of_each, values_without_names


@dataclass(frozen=True)
class CaseSources:
    """All readings of one case that come from files of their own.

    Args:
        readers: raters in their order and then models; a `Source` without a place found nothing.
        repeats: further readings.
        truth: the external truth, where it comes from a file of its own.
    """

    id: str
    patient: str
    readers: Mapping[str, Source]
    repeats: Mapping[str, Source]
    truth: Source | None = None

    @property
    def everything(self) -> dict[str, Source]:
        """Every source by the name under which it is compared."""
        return {**self.readers, **self.repeats, **({TRUTH: self.truth} if self.truth else {})}


def settle_names(cases: Sequence[CaseSources], models: Sequence[str], naming: Naming) -> Naming:
    """The labels that are given, those of `rois`, or the names that the raters' own files carry.

    Without any of them values are names. Every name that a header tells is checked.

    Raises:
        UsageError: values here and names there, and nothing that ties them together.
        LabelError: structures of a model or a rater that are no label.
        FileReadError, DicomError: a header is damaged.
    """
    if naming.labels is None and naming.rois is not None:
        naming = replace(naming, labels=naming.rois.label_set)
    if naming.labels is None and (names := _own_names(cases, models, naming)):
        values = {name: value for value, name in enumerate(names, start=1)}
        naming = replace(naming, labels=LabelSet({BACKGROUND: 0, **values}), values_known=False)
    for case in cases:
        for source in case.everything.values():
            _check(source, naming)
    return naming


def _own_names(cases: Sequence[CaseSources], models: Sequence[str], naming: Naming) -> list[str]:
    """All names in the raters' files, sorted; none where they hold values."""
    named: set[str] = set()
    for case in cases:
        for reader, source in case.readers.items():
            if reader not in models and source.place is not None and source.place.kind != "map":
                named.update(source.place.names(naming.rois, where=source.where) or ())
    return sorted(named)


def _check(source: Source, naming: Naming) -> None:
    if source.mapping is not None:
        _check_targets(source, naming)
    if source.place is None or source.place.kind == "rtstruct":  # its rules are checked when it is read
        return
    names = source.place.names(None if source.mapping else naming.rois, where=source.where)
    if names is not None:
        label_of_each(names, source, naming)
    elif source.mapping is None and not naming.values_known:
        raise values_without_names(source.where)


def _check_targets(source: Source, naming: Naming) -> None:
    assert source.mapping is not None
    if naming.labels is not None:
        source.mapping.check_targets(naming.labels.foreground)
    elif words := [name for name in source.mapping.targets if not name.isdigit() or int(name) == 0]:
        raise UsageError(f"the map of the model's labels leads to '{words[0]}', and the readers' labels are values",
                         where="--model-labels", expected="values, or --labels with a name for each of them",
                         )  # fmt: skip
