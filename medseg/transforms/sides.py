"""Left and right: which classes are each other's mirror image, and what happens to their names.

Two rules can say when a mirrored body's left structures become right ones:

- `side`: when the left/right axis itself is mirrored. In a canonical image that axis is the patient's left and right,
  however the patient lay in the scanner; so a structure's name is the side of the image on which it lies, and a flip of
  back and front or of down and up leaves it there. Right for flips and for turns up to some 45 degrees.
- `chirality`: whenever the result is a mirror image of a body, after an odd number of reflections along whatever axes.
  A flip of back and front is a flip of left and right followed by half a turn about the long axis, and a turn never
  changes names, so this is the only rule that agrees with turns of 90 degrees and more: with them and `side` a model
  sees the same picture with both names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medseg.errors import LabelError, UsageError
from medseg.shapes import IntArray
from medseg.transforms.compiled import in_slabs
from medseg.transforms.kernels_warp import rename_slab
from medseg.transforms.warp_torch import on_device

Pairs = Sequence[tuple[int, int]]
SwapRule = Literal["side", "chirality"]

OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l", "lt": "rt", "rt": "lt", "lft": "rgt", "rgt": "lft"}
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z\d]+")


@dataclass(frozen=True)
class MirrorAdvice:
    """What class names say about mirroring along left and right.

    Args:
        unpaired: classes that name one side and stand in no pair, in the order of the classes.
        suggested: pairs of their names that differ in the side only.
        sentence: why the left/right axis is not to be flipped and what to declare; None where all is well.
    """

    unpaired: tuple[str, ...] = ()
    suggested: tuple[tuple[str, str], ...] = ()
    sentence: str | None = None


def mirror_advice(names: Sequence[str], mirror_pairs: Pairs) -> MirrorAdvice:
    """Whether classes that are named left or right all have a declared mirror image.

    A name has a side if `left` or `right` is one of its words, or `l` or `r` its first or last word; a name with both
    sides has none.

    Args:
        names: of the classes, by index, background included.
        mirror_pairs: class indices (a, b) that are each other's mirror image.

    Example:
        >>> mirror_advice(["background", "kidney_left", "kidney_right", "liver"], [(1, 2)]).sentence
        >>> mirror_advice(["background", "Kidney_L", "Kidney_R"], []).suggested
        (('Kidney_L', 'Kidney_R'),)
    """
    paired = {index for pair in mirror_pairs for index in pair}
    unpaired = tuple(name for index, name in enumerate(names) if index not in paired and mirrored_name(name))
    if not unpaired:
        return MirrorAdvice()
    known = {name.lower(): name for name in unpaired}
    found = [(name, known[other]) for name in unpaired if (other := (mirrored_name(name) or "").lower()) in known]
    suggested = tuple((a, b) for a, b in found if names.index(a) < names.index(b))
    return MirrorAdvice(unpaired, suggested, _sentence(unpaired, suggested))


def mirrored_name(name: str) -> str | None:
    """The name with its side exchanged, in its own spelling; None if it names no side, or both.

    Example:
        >>> mirrored_name("kidney_left"), mirrored_name("Lung_R"), mirrored_name("vertebra_L1"), mirrored_name("liver")
        ('kidney_right', 'Lung_L', None, None)
    """
    words = WORDS.findall(name)
    real = [place for place, word in enumerate(words) if word.isalnum()]
    sides = [place for place in real if _names_side(words, place, at_end=place in (real[0], real[-1]))]
    if len({words[place].lower() for place in sides}) != 1 or len(real) < 2:
        return None
    return "".join(_like(word, OPPOSITE[word.lower()]) if place in sides else word for place, word in enumerate(words))


def checked_pairs(mirror_pairs: Pairs, left_right_axis: int) -> tuple[tuple[int, int], ...]:
    """The pairs, if they pair classes one to one and the axis exists.

    Raises:
        LabelError: these are no pairs of indices; a class is in two pairs, is paired with itself, or is negative.
        UsageError: the axis is not 0, 1 or 2.
    """
    if not all(isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 and
               all(isinstance(index, int | np.integer) for index in pair) for pair in mirror_pairs):  # fmt: skip
        raise LabelError("not pairs of classes", where="mirror_pairs", expected="class indices such as [(2, 3)]",
                         got=str([*mirror_pairs]))  # fmt: skip
    paired = [index for pair in mirror_pairs for index in pair]
    if len(set(paired)) < len(paired) or min(paired, default=0) < 0:
        raise LabelError("mirror_pairs does not pair classes one to one", got=str([*mirror_pairs]))
    if left_right_axis not in (0, 1, 2):
        raise UsageError("no such axis", where="left_right_axis", expected="0, 1 or 2", got=str(left_right_axis))
    return tuple((a, b) for a, b in mirror_pairs)


def swap_classes(labels: Tensor, pairs: Pairs) -> Tensor:
    """Labels with the two classes of every pair exchanged: values of integers, channels of soft targets.

    Raises:
        LabelError: a pair names a class that the soft targets, or integers of this size, cannot hold.
    """
    if not pairs:
        return labels
    most = max(max(pair) for pair in pairs)
    known = len(labels) if labels.is_floating_point() else 2 if labels.dtype == torch.bool else _limit(labels.dtype)
    if most >= known:
        raise LabelError("mirror_pairs names a class that the labels cannot hold", expected=f"below {known}",
                         got=str(next(pair for pair in pairs if most in pair)))  # fmt: skip
    order = np.arange(most + 1)
    for a, b in pairs:
        order[[a, b]] = b, a
    if labels.is_floating_point():
        full = np.concatenate([order, np.arange(most + 1, known)])
        return labels.index_select(0, on_device(full, labels.device))
    if labels.device.type != "cpu" or labels.dtype == torch.bool:
        return renamed(labels, order)
    swapped = torch.empty_like(labels, memory_format=torch.contiguous_format)
    flat = labels.detach().contiguous().flatten().numpy()
    in_slabs(rename_slab, len(flat), order.astype(flat.dtype), flat, swapped.view(-1).numpy())
    return swapped


def renamed(labels: Tensor, names: IntArray) -> Tensor:
    """`names[label]`; labels that are no index of it stay. The torch operations of any device."""
    table = on_device(names, labels.device).to(labels.dtype)
    index = labels.long()
    known = (index >= 0) & (index < len(names))
    return torch.where(known, table[index.clamp(0, len(names) - 1)], labels)


def _sentence(unpaired: Sequence[str], suggested: Sequence[tuple[str, str]]) -> str:
    named = "name a side and have" if len(unpaired) > 1 else "names a side and has"
    example = "".join(f" [{a}, {b}]" for a, b in suggested)
    return (
        f"Left and right are not flipped, because {_listed(unpaired)} {named} no declared mirror image; "
        f"declare under `mirror_pairs` those that are each other's mirror image{',' if example else ''}"
        f"{' such as' if example else ''}{example}."
    )


def _limit(dtype: torch.dtype) -> int:
    return torch.iinfo(dtype).max + 1


def _names_side(words: Sequence[str], place: int, *, at_end: bool) -> bool:
    word, numbered = words[place].lower(), "".join(words[place + 1 : place + 2]).isdigit()  # L5 is a vertebra
    return word in ("left", "right") or (at_end and not numbered and word in OPPOSITE)


def _like(word: str, other: str) -> str:
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
