"""Writes the tables of docs/transforms.md from the transforms' own docstrings and defaults and from the presets.

    python tools/transforms_page.py          # rewrites what stands between the markers
    python tools/transforms_page.py --check  # exit code 1 when it is out of date

The pictures and their captions are made by docs/images/transforms/draw.py.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from medseg.transforms.presets import PRESETS
from medseg.transforms.registry import EVERY_STEP

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "transforms.md"
MARKS = "<!-- {0}: tools/transforms_page.py writes what follows -->", "<!-- end of the {0} -->"
WIDTH = 492  # of two slices side by side


def reference() -> str:
    """All transforms in the order in which a pipeline should run them."""
    drawn = json.loads((DOCS / "images" / "transforms" / "drawn.json").read_text(encoding="utf-8"))
    return "\n".join(section(step, drawn.get(step.name)) for step in EVERY_STEP)


def presets() -> str:
    """What each preset is, and its steps with their probabilities in the order in which they run."""
    lines = ["| preset | what | steps (probability) | source |", "|---|---|---|---|"]
    for name, preset in PRESETS.items():
        steps = " · ".join(f"{step.name} {step.probability:g}" for step in preset.steps) or "-"
        lines.append(f"| `{name}` | {preset.about} | {steps} | {preset.source} |")
    return "\n".join([*lines, ""])


def section(step: Any, caption: str | None) -> str:
    """Heading, picture, description and settings of one transform; without a picture when none was drawn."""
    about, settings = parse(inspect.getdoc(type(step)) or "")
    lines = [f"### `{step.name}`", ""]
    if caption is not None:
        words = f"{step.name}: {caption}" if caption else step.name
        lines += [f'<img src="images/transforms/{step.name}.png" width="{WIDTH}" alt="{words}">', ""]
        lines += [f"Shown: {caption}.", ""] if caption else []
    unit = "Any unit." if getattr(step, "works_in", "hu") == "any" else "In HU."
    lines += [f"{names(about)} {unit}", "", "| setting | default | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *rows(values(step), settings), ""])


def rows(defaults: dict[str, Any], settings: dict[str, str]) -> list[str]:
    """A row for each setting; settings that are told in one breath and have one default share it."""
    together: dict[tuple[str, str], list[str]] = {}
    for key, value in defaults.items():
        together.setdefault((names(settings.get(key, "")), shown(value)), []).append(f"`{key}`")
    return [f"| {', '.join(keys)} | {value} | {text} |" for (text, value), keys in together.items()]


def values(step: Any) -> dict[str, Any]:
    """Settings and their defaults, without the name."""
    return {key: getattr(step, key) for key in type(step).model_fields if key != "name"}


def parse(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's description, its paragraphs joined, and the text of each argument.

    Example:
        >>> parse("Blur.\\n\\nArgs:\\n    a, b: one\\n        more.\\n    c: other.")
        ('Blur.', {'a': 'one more.', 'b': 'one more.', 'c': 'other.'})
    """
    about, _, rest = doc.partition("Args:")
    arguments = re.split(r"\n\s*\n", rest, maxsplit=1)[0]
    found: dict[str, str] = {}
    for entry in re.split(r"\n {4}(?=\S)", arguments):
        keys, colon, text = entry.partition(":")
        if colon:
            found |= dict.fromkeys((key.strip() for key in keys.split(",")), " ".join(text.split()))
    return " ".join(about.split()), found


def shown(value: Any) -> str:
    """A default as it is read in a table."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, tuple):
        return ", ".join(map(shown, value)) or "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def names(text: str) -> str:
    """The names of other transforms as a recipe writes them, and a bar that does not end a cell."""
    for step in EVERY_STEP:
        text = text.replace(f"`{type(step).__name__}`", f"`{step.name}`")
    return text.replace("|", "\\|")


def rewritten(text: str) -> str:
    """The page with the parts between its markers written anew."""
    for name, part in (("presets", presets()), ("reference", reference())):
        begin, end = (mark.format(name) for mark in MARKS)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{part}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; tell whether the page is out of date")
    text = PAGE.read_text(encoding="utf-8")
    new = rewritten(text)
    if parser.parse_args().check:
        print("up to date" if new == text else "docs/transforms.md is out of date: run python tools/transforms_page.py")
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
