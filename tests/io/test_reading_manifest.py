"""The table of readings: its columns, its statuses, and what contradicts itself in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import ConfigError, FileReadError
from medseg.io.reading_manifest import read_reading_manifest


def written(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_column_is_read(tmp_path):
    text = ("case,patient,image,rater,path,role,status,slices_read,labelled,reading,trained_on,site,strata_dose\n"
            "c1,p1,ct/c1.nii.gz,A,a/c1.nii.gz,,,2-9,liver; tumour,second,,North,low\n"
            "c1,,,net,net/c1.nii.gz,model,annotated,,,,A,,\n")  # fmt: skip
    found = read_reading_manifest(written(tmp_path, text))
    first, second = found.rows
    assert (first.case, first.patient, first.role, first.status) == ("c1", "p1", "human", "annotated")
    assert first.path == tmp_path.resolve() / "a/c1.nii.gz" and first.image == tmp_path.resolve() / "ct/c1.nii.gz"
    assert first.slices_read == (2, 9) and first.labelled == ("liver", "tumour") and first.reading == "second"
    assert first.strata == {"site": "North", "dose": "low"} and second.role == "model"
    assert found.trained_on == {"net": ("A",)} and found.patients == {"c1": "p1"}


def test_yaml_says_the_same_and_names_the_labels(tmp_path):
    text = ("labels: {liver: 1}\nanonymous: true\nreadings:\n"
            "  - {case: 7, rater: A, path: a.nii.gz, slices_read: [0, 3], labelled: [liver]}\n"
            "  - {case: 7, rater: B, status: absent}\n")  # fmt: skip
    found = read_reading_manifest(written(tmp_path, text, "m.yaml"))
    assert found.labels == {"liver": 1} and found.anonymous and found.readers("human") == ("A", "B")
    assert found.rows[0].slices_read == (0, 3) and found.rows[0].case == "7" and found.rows[1].status == "absent"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheets_delimiter_and_byte_order_mark_do_not_matter(tmp_path, delimiter):
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in (["case", "rater", "path"], ["c1", "A", "a.nii.gz"]))
    assert read_reading_manifest(written(tmp_path, text + "\r\n\r\n")).rows[0].rater == "A"


def test_strata_of_another_name_are_taken_when_they_are_named(tmp_path):
    path = written(tmp_path, "case,rater,path,vendor\nc1,A,a.nii.gz,Acme\n")
    assert read_reading_manifest(path, strata=["vendor"]).rows[0].strata == {"vendor": "Acme"}
    with pytest.raises(ConfigError, match=r"m.csv: unknown column 'vendor'.*strata_NAME"):
        read_reading_manifest(path)


HEAD = "case,rater,path,role,status,patient,image,reading,slices_read,trained_on,site\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,rater,path,patiant\n", "m.csv: unknown column 'patiant' .did you mean 'patient'"),
        ("case,path\nc1,a\n", "m.csv: no column 'rater'"),
        ("case,rater,case\n", "column 'case' stands 2 times"),
        ("case,,rater\n", "a column without a name"),
        ("case,rater,path\nc1,A,a,b\n", "m.csv:2: more cells than columns; expected 3, got 4"),
        ("", "an empty table"),
        (HEAD, "no reading"),
        (HEAD + "c1,A\n", "m.csv:2: neither a path nor a status"),
        (HEAD + "c1,A,,,annotated\n", "annotated, but there is no path"),
        (HEAD + "c1,A,a,,missing\n", "missing, but there is a path"),
        (HEAD + "c1,A,a,,anotated\n", "`status` cannot be 'anotated' .did you mean 'annotated'"),
        (HEAD + "c1,A,a,reader\n", "`role` cannot be 'reader'.*human or model"),
        (HEAD + "../c1,A,a\n", "not a name for a case"),
        (HEAD + "c1,A/B,a\n", "not a name for a reader"),
        (HEAD + "c1,A,a,,,,,,9-2\n", "`slices_read` is no range.*10-60, got '9-2'"),
        (HEAD + "c1,A,a,,,p1\nc1,B,b,,,p2\n",
         "m.csv:3: case c1 has two different cells `patient`; expected one, as in 2"),
        (HEAD + "c1,A,a,,,,i\nc1,B,b,,,,j\n", "case c1 has two different cells `image`"),
        (HEAD + "c1,A,a,,,,,,,,N\nc1,B,b,,,,,,,,S\n", "case c1 has two different cells `site`"),
        (HEAD + "c1,A,a\nc1,A,b\n", "m.csv:3: case c1 has two readings of 'A'; got another at m.csv:2"),
        (HEAD + "c1,A,a\nc2,A,b,model\n", "'A' is a human in one row and a model in another"),
        (HEAD + "c1,A,a\nc1,net,b,model,,,,,,C\n", "`trained_on` names 'C', which is no rater"),
        (HEAD + "c1,A,a,,,,,,,nett\nc1,net,b,model\n", "`trained_on` names 'nett', which is no model.*mean 'net'"),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_line(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read_reading_manifest(written(tmp_path, text))


@pytest.mark.parametrize("cell", ["patient", "yes", "p1"])
def test_a_patient_whom_the_model_saw_in_training_is_refused(tmp_path, cell):
    path = written(tmp_path, HEAD + f"c1,A,a,,,p1\nc1,net,b,model,,,,,,{cell}\n")
    with pytest.raises(ConfigError, match=r"1 predictions of patients that the model saw.*got net \(c1\)"):
        read_reading_manifest(path)


def test_a_rater_from_whom_models_learned_is_told_on_either_row(tmp_path):
    text = HEAD + "c1,A,a,,,,,,,yes\nc1,B,b,,,,,,,net\nc1,C,c,,,,,,,no\nc1,net,d,model\nc1,own,e,model,,,,,,C\n"
    assert read_reading_manifest(written(tmp_path, text)).trained_on == {"net": ("A", "B"), "own": ("A", "C")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raedings: []\n", "unknown key 'raedings'.*did you mean 'readings'"),
        ("labels: {a: 1}\n", "no `readings`"),
        ("readings: {case: c1}\n", "no `readings`"),
        ("readings: [c1]\n", "no `readings`"),
        ("labels: [a]\nreadings: []\n", "`labels` is no list"),
        ("anonymous: maybe\nreadings: []\n", "neither true nor false"),
        ("readings: [{case: c1, rater: [A], path: a}]\n", "readings.0: `rater` is no word"),
        ("schema: medseg.dataset/1\nreadings: []\n", "another schema"),
    ],
)
def test_faults_of_a_yaml_manifest_are_named(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read_reading_manifest(written(tmp_path, text, "m.yaml"))


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00case")
    with pytest.raises(FileReadError, match=r"m.csv: cannot be read as text"):
        read_reading_manifest(tmp_path / "m.csv")
    with pytest.raises(FileReadError, match="no such file"):
        read_reading_manifest(tmp_path / "none.csv")


def test_an_open_quote_is_no_table(tmp_path):
    with pytest.raises(ConfigError, match=r"m.csv:2: not a CSV table"):
        read_reading_manifest(written(tmp_path, 'case,rater,path\nc1,A,"a\n'))


def test_a_truth_is_neither_a_reader_nor_a_model(tmp_path):
    text = HEAD + "c1,A,a.nii.gz,,,,,,,,\nc1,phantom,t.nii.gz,truth,,,,,,,\n"
    found = read_reading_manifest(written(tmp_path, text))
    assert found.rows[1].role == "truth" and found.readers("human") == ("A",) and found.readers("model") == ()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("c1,t,t.nii.gz,truth,,,,,,,\nc1,u,u.nii.gz,truth,,,,,,,\n", "m.csv:3: case c1 has two truths; got another at"),
        ("c1,t,t.nii.gz,truth,,,,,,A,\n", "a truth learned from nobody"),
        ("c1,t,t.nii.gz,truth,,,,,,,\nc2,t,u.nii.gz,,,,,,,,\n", "'t' is a truth in one row and a human in another"),
    ],
)
def test_truths_that_contradict_themselves_are_refused(tmp_path, rows, words):
    with pytest.raises(ConfigError, match=words):
        read_reading_manifest(written(tmp_path, HEAD + rows))
