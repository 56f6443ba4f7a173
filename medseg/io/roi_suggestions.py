"""Rules to begin with for names of regions that no rule knows yet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from medseg.io.name_patterns import LONGEST_NAME
from medseg.io.tg263 import tg263_name


def suggest_rules(names: Sequence[str]) -> str:
    """A `rois.yaml` to begin with: a label for each standard name that the regions' names stand for.

    Names for which none is known stand in it as comments; left as they are, they will be refused by name.

    >>> print(suggest_rules(["Lt Kidney", "Dummy"]))
    # Regular expressions, matched with the whole name in any case. Check each line; values are free to choose.
    labels:
      kidney_left: {value: 1, match: ["Lt Kidney"]}  # TG-263: Kidney_L
    ignore: []
    # rater: {from: folder, up: 1}  # whose reading a file is: or file, label (StructureSetLabel), suffix, name
    # No standard name is known for these: give each a label, or list it under `ignore:`.
    #   "Dummy"
    <BLANKLINE>
    """
    labels, rest = _by_label(list(dict.fromkeys(names)))
    lines = ["# Regular expressions, matched with the whole name in any case. Check each line; values are free to "
             "choose.", "labels:" if labels else "labels: {}"]  # fmt: skip
    for value, (label, members) in enumerate(labels.items(), start=1):
        lines.append(f"  {label}: {_rule(value, members)}  # TG-263: {tg263_name(members[0])}")
    pairs = [f"[{label}, {other}]" for label in labels if label.endswith("_left")
             and (other := f"{label.removesuffix('left')}right") in labels]  # fmt: skip
    lines += [f"mirror_pairs: [{', '.join(pairs)}]"] if pairs else []
    lines += ["ignore: []", "# rater: {from: folder, up: 1}  # whose reading a file is: or file, label "
              "(StructureSetLabel), suffix, name"]  # fmt: skip
    if rest:
        lines.append("# No standard name is known for these: give each a label, or list it under `ignore:`.")
        lines += [f"#   {literal_pattern(name)}" for name in rest]
    return "\n".join(lines) + "\n"


def snippet(names: Sequence[str], values: Mapping[str, int]) -> str:
    """What to add to a `rois.yaml` for names that it does not know, on one line.

    Args:
        values: the labels that are there.

    >>> snippet(["Lt Kidney", "Liver 2", "Dummy"], {"liver": 1})
    'labels: {kidney_left: {value: 2, match: ["Lt Kidney"]}}, to `match:` of liver ["Liver 2"], ignore: ["Dummy"]'
    """
    labels, rest = _by_label(names)
    free = (value for value in range(1, 32768) if value not in values.values())
    new = [f"{label}: {_rule(next(free), members)}" for label, members in labels.items() if label not in values]
    texts = [f"labels: {{{', '.join(new)}}}"] if new else []
    texts += [f"to `match:` of {label} {_list(members)}" for label, members in labels.items() if label in values]
    texts += [f"ignore: {_list(rest)}"] if rest else []
    return ", ".join(texts)


def literal_pattern(name: str) -> str:
    r"""A name as a regular expression that matches nothing else, in YAML's double quotes.

    >>> print(literal_pattern("Liver (old)"))
    "Liver \\(old\\)"
    """
    return json.dumps(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", name[:LONGEST_NAME]))


def shown_name(name: str) -> str:
    """A name from a file as it may stand in a message: quoted, one line, at most 64 characters."""
    line = "".join(character if character.isprintable() else "?" for character in name[: LONGEST_NAME + 1])
    return f"'{line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 3] + '...'}'"


def _by_label(names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The names by the label that their standard name gives, and the names without one."""
    labels: dict[str, list[str]] = {}
    rest = []
    for name in names:
        standard = tg263_name(name) if len(name) <= LONGEST_NAME else ""
        if standard:
            label = re.sub("_r$", "_right", re.sub("_l$", "_left", standard.lower()))
            labels.setdefault(label, []).append(name)
        else:
            rest.append(name)
    return labels, rest


def _rule(value: int, names: Sequence[str]) -> str:
    return f"{{value: {value}, match: {_list(names)}}}"


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(literal_pattern, names))}]"
