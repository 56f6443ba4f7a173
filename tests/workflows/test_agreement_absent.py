"""Cases of bare label maps in which nobody marked a label: looked for, and not found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.io.nifti import write_labels
from medseg.workflows.agreement import agree
from medseg.workflows.readings_options import ReadingOptions
from tests.workflows.test_agreement import GRID, ball

FAST: dict[str, Any] = {"draws": 200}


def lesion(marks: str) -> dict[str, np.ndarray]:
    """One case: A, B and the model drew a lesion (1) or nothing at all (0)."""
    return {
        name: ball(7.0, np.random.default_rng(number)) * int(mark)
        for number, (name, mark) in enumerate(zip(("raters/A", "raters/B", "net"), marks, strict=True))
    }


def write(root: Path, *cases: str) -> Path:
    for number, marks in enumerate(cases):
        for name, labels in lesion(marks).items():
            write_labels(root / f"{name}/c{number}.nii.gz", labels, GRID)
    return root


def presence(root: Path, **said: Any) -> dict[str, Any]:
    found = agree(raters=root / "raters", model=root / "net", out=root / "out", **said, **FAST)
    return next(iter(found["labels"].values()))["models"]["net"]["presence"]


def test_a_false_positive_is_one_of_all_cases_without_a_finding(tmp_path):
    found = presence(write(tmp_path, "111", "111", "000", "000", "001"))
    assert (found["findings"], found["absent"], found["false_positives"]) == (2, 3, 1)
    assert found["false_positive_rate"]["model"] == pytest.approx(1 / 3)


def test_names_for_the_values_change_no_count(tmp_path):
    bare = presence(write(tmp_path / "bare", "111", "000", "001", "110"))
    named = presence(write(tmp_path / "named", "111", "000", "001", "110"), reading=ReadingOptions(labels="lesion=1"))
    assert bare == named


def test_who_did_not_look_for_a_label_did_not_find_it_absent(tmp_path):
    write(tmp_path, "111", "000", "000")
    lines = ["case,rater,path,role,labelled"]
    for case in ("c0", "c1", "c2"):
        said = "2" if case == "c2" else ""
        lines += [f"{case},{name},{place}/{case}.nii.gz,{role},{said}" for name, place, role in (
            ("A", "raters/A", "human"), ("B", "raters/B", "human"), ("net", "net", "model"))]  # fmt: skip
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    found = agree(manifest=tmp_path / "m.csv", out=tmp_path / "out", **FAST)
    assert found["labels"]["1"]["models"]["net"]["presence"]["absent"] == 1
