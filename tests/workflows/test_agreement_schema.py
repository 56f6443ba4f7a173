"""What `agree` writes is what the published schema of `agreement.json` says."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest

from medseg.io.nifti import write_labels
from medseg.workflows.agreement import agree
from tests.workflows.test_agreement import GRID, write_study
from tests.workflows.test_agreement import dataset as dataset  # a fixture

FAST: dict[str, Any] = {"draws": 200}


@pytest.fixture(scope="module")
def check():
    schema = json.loads((files("medseg.report") / "schema/agreement.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


def test_several_models_with_every_check_fit_the_schema(check, tmp_path):
    raters, model = write_study(tmp_path, 5, raters="ABC")
    (tmp_path / "other").mkdir()
    for path in model.iterdir():
        write_labels(tmp_path / "other" / path.name, np.zeros(GRID.shape, np.uint8), GRID)
    every: dict[str, Any] = {"null_control": True, "degrade": True, "lesions": True, "tolerance_mm": "readers"}
    models = [model, tmp_path / "other"]
    result = agree(raters=raters, model=models, out=tmp_path / "out", margin=0.1, **every, **FAST)
    check(result)
    check(json.loads((tmp_path / "out/agreement.json").read_text()))


def test_readers_alone_fit_the_schema(check, tmp_path):
    check(agree(raters=write_study(tmp_path, 3)[0], out=tmp_path / "out", **FAST))


def test_a_single_reader_fits_the_schema(check, tmp_path):
    raters, model = write_study(tmp_path, 3, raters="A")
    check(agree(raters=raters, model=model, out=tmp_path / "out", primary="1:nsd", **FAST))


def test_a_data_set_with_a_truth_and_a_label_that_nobody_marked_fits_the_schema(check, dataset, tmp_path):
    result = agree(dataset, tmp_path / "net", out=tmp_path / "out", margin=0.1, **FAST)
    check(result)
    truth = result["labels"]["lesion"]["models"]["net"]["truth"]
    assert truth["n_cases"] == 3 and truth["check"]["answer"] == "no claim"


def test_a_wrong_class_does_not_fit_the_schema(check, tmp_path):
    result = agree(raters=write_study(tmp_path, 3)[0], out=tmp_path / "out", **FAST)
    result["verdict"]["readers"]["class"] = "superior"
    with pytest.raises(jsonschema.ValidationError):
        check(result)
