"""Two reporting checklists, filled where the agreement holds the answer; the rest is put to the author.

Items are named by their number and told in our own words. GRRAS: Kottner et al., J Clin Epidemiol 2011;64:96-106.
CLAIM: Mongan, Moy and Kahn, Radiol Artif Intell 2020;2:e200029; its update of 2024 numbers some items anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup, escape

from medseg.report.checklist_answers import claim_answers, grras_answers
from medseg.report.tables import Table

__all__ = ["Item", "checklist_tables", "checklists_html", "checklists_markdown", "claim", "grras"]

FILLED, ASK = "filled", "ask the author"

GRRAS: Final = (
    ("title", "says that agreement or reliability was studied"),
    ("introduction", "what is measured, and with what"),
    ("introduction", "which patients the result is meant for"),
    ("introduction", "which readers the result is meant for"),
    ("introduction", "what was known before, and why this study"),
    ("methods", "how many patients, readers and repeats, and why so many"),
    ("methods", "how patients and readers were chosen"),
    ("methods", "how reading was done: time between readings, what readers knew"),
    ("methods", "whether readings were independent of each other"),
    ("methods", "the statistical analysis"),
    ("results", "how many readers, patients and readings there were"),
    ("results", "who the readers and patients were: training, experience, disease"),
    ("results", "agreement and reliability with their uncertainty"),
    ("discussion", "what the result means in practice"),
    ("further material", "results in detail"),
)
CLAIM: Final = (
    ("title", "says that and which kind of AI was used"),
    ("abstract", "structured summary"),
    ("introduction", "background and the intended role of the model"),
    ("introduction", "aims and hypotheses"),
    ("study", "prospective or retrospective"),
    ("study", "goal of the study"),
    ("data", "where the data came from"),
    ("data", "who was included and excluded"),
    ("data", "preprocessing"),
    ("data", "parts of the data that were selected"),
    ("data", "definitions of data elements"),
    ("data", "how data were de-identified"),
    ("data", "what was done about missing data"),
    ("reference", "definition of the reference standard"),
    ("reference", "why this reference standard"),
    ("reference", "who annotated, with which training"),
    ("reference", "tools for annotation"),
    ("reference", "variability between and within readers, and what was done about it"),
    ("partitions", "intended sample size and why"),
    ("partitions", "how data were split"),
    ("partitions", "level at which parts share nothing, such as the patient"),
    ("model", "inputs, outputs and layers"),
    ("model", "software"),
    ("model", "how weights were initialised"),
    ("training", "procedure, augmentation and settings"),
    ("training", "how the final model was chosen"),
    ("training", "ensembles, if any"),
    ("evaluation", "performance metrics"),
    ("evaluation", "statistical significance and uncertainty"),
    ("evaluation", "robustness or sensitivity analysis"),
    ("evaluation", "how the model's output is explained"),
    ("evaluation", "test on external data"),
    ("results", "flow of patients or cases"),
    ("results", "demographic and clinical data in each part"),
    ("results", "performance in each part of the data"),
    ("results", "estimates with their precision"),
    ("results", "failures"),
    ("discussion", "limits of the study"),
    ("discussion", "what it means in practice"),
    ("further", "registration"),
    ("further", "where the full protocol can be read"),
    ("further", "funding and the part that funders played"),
)


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Args:
        number: in the published list.
        section: of the paper in which it belongs.
        asks: what it asks for, in our words.
        answer: what is known, or empty.
        missing: what only the author can say, or empty.
    """

    number: int
    section: str
    asks: str
    answer: str = ""
    missing: str = ""

    @property
    def status(self) -> str:
        """`filled`, or `ask the author` where something is missing."""
        return FILLED if self.answer and not self.missing else ASK

    @property
    def text(self) -> str:
        """What is known, and after it what is still to be told; empty where nothing is known."""
        return f"{self.answer} (Still to be told: {self.missing}.)" if self.answer and self.missing else self.answer


def grras(agreement: Mapping[str, Any], answers: Mapping[int, str] | None = None) -> list[Item]:
    """The 15 items of GRRAS.

    Args:
        agreement: what `agreement.json` holds.
        answers: the author's own, by number; they take the place of what is missing.
    """
    return _items(GRRAS, grras_answers(agreement), answers)


def claim(agreement: Mapping[str, Any], answers: Mapping[int, str] | None = None) -> list[Item]:
    """The 42 items of CLAIM (2020); arguments as in `grras`."""
    return _items(CLAIM, claim_answers(agreement), answers)


def _items(
    asked: tuple[tuple[str, str], ...], known: Mapping[int, tuple[str, str]], own: Mapping[int, str] | None
) -> list[Item]:
    found = []
    for number, (section, asks) in enumerate(asked, 1):
        answer, missing = known.get(number, ("", asks))
        if text := (own or {}).get(number):
            answer, missing = f"{answer} {text}".strip(), ""
        found.append(Item(number, section, asks, answer, missing))
    return found


def checklist_tables(agreement: Mapping[str, Any]) -> list[Table]:
    """Both lists as tables of the page; readers without a model have no CLAIM."""
    return [
        Table(title, ("item", "section", "asks for", "status", "answer"), _rows(items), _count(items))
        for title, items in _lists(agreement)
    ]


def _lists(agreement: Mapping[str, Any]) -> list[tuple[str, list[Item]]]:
    found = [("GRRAS: reliability and agreement", grras(agreement))]
    if agreement["design"]["models"]:
        found.append(("CLAIM (numbers of 2020): AI in medical imaging", claim(agreement)))
    return found


def _rows(items: list[Item]) -> list[list[str | float | None]]:
    return [[str(item.number), item.section, item.asks, item.status, item.text] for item in items]


def _count(items: list[Item]) -> str:
    done = sum(item.status == FILLED for item in items)
    return f"{done} of {len(items)} items are filled from the agreement; the author answers the rest."


def checklists_html(agreement: Mapping[str, Any]) -> Markup:
    """Both lists as an HTML fragment; every text is escaped."""
    parts = []
    for table in checklist_tables(agreement):
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in table.rows
        )
        parts.append(
            f'<div class="wide"><table class="checklist"><caption>{escape(table.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
            f'<p class="note">{escape(table.note)}</p>'
        )
    return Markup("\n".join(parts))


def checklists_markdown(agreement: Mapping[str, Any]) -> str:
    """Both lists as Markdown tables; a bar in a name is escaped."""
    parts = []
    for table in checklist_tables(agreement):
        lines = [f"## {table.title}", "", _line(table.columns), "|" + "---|" * len(table.columns)]
        parts.append("\n".join([*lines, *(_line(row) for row in table.rows), "", table.note, ""]))
    return "\n".join(parts)


def _line(cells: Any) -> str:
    return "| " + " | ".join(_plain(str(cell)) for cell in cells) + " |"


def _plain(text: str) -> str:
    for sign in "\\|<[]*_`":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
