"""DICOM trees: every CT a case, every structure set the reading of the rater that the user's rules name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import DicomError, InputError, LabelError, MedsegError, OutputExistsError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.regions import RegionMap
from medseg.imaging.volume import Volume
from medseg.io.layouts.layout import ImportOptions
from medseg.io.manifest import read_dataset, read_reading
from medseg.io.roi_names import RoiRules
from medseg.shapes import BoolArray
from medseg.workflows import import_, suggest_rois
from tests.support.rtstruct_writer import WrittenSeries, write_ct, write_rtstruct

GRID = Geometry((16, 16, 8), np.diag([2.0, 2.0, 3.0, 1.0]))


def rules(**changes: object) -> RoiRules:
    labels = {"liver": {"value": 1, "match": ["Liver"]}, "tumour": {"value": 2, "match": ["GTV"]}}
    return RoiRules(**{"labels": labels, "rater": {"from": "label"}, **changes})  # type: ignore[arg-type]


def box(low: int, high: int) -> BoolArray:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[low:high, low:high, 2:6] = True
    return mask


def ct(folder: Path, name: str = "ct") -> WrittenSeries:
    hu = np.random.default_rng(0).integers(-1000, 200, GRID.shape).astype(np.float32)
    return write_ct(folder, Volume(hu, GRID), name=name, patient=f"patient {name}")


def run(source: Path, out: Path, options: ImportOptions):
    return read_dataset(import_("dicom", source, out, options=options).path)


def test_each_structure_set_is_the_reading_of_its_rater(tmp_path: Path) -> None:
    series = ct(tmp_path / "in" / "a")
    for rater, size in (("MM", 8), ("KK", 9)):
        write_rtstruct(tmp_path / "in" / f"{rater}.dcm", series, {"Liver": box(3, size)}, label=rater)

    data = run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules()))

    assert data.raters == ("KK", "MM")
    assert np.array_equal(read_reading(data, data.cases[0], "KK").mask("liver"), box(3, 9))
    assert np.array_equal(read_reading(data, data.cases[0], "MM").mask("liver"), box(3, 8))


def test_what_was_not_outlined_was_not_read_unless_the_rules_say_absent(tmp_path: Path) -> None:
    series = ct(tmp_path / "in" / "a")
    write_rtstruct(tmp_path / "in" / "rs", series, {"Liver": box(3, 8), "GTV": box(0, 0)}, label="A")

    missing = run(tmp_path / "in", tmp_path / "missing", ImportOptions(rois=rules()))
    absent = run(tmp_path / "in", tmp_path / "absent", ImportOptions(rois=rules(empty="absent")))

    assert not read_reading(missing, missing.cases[0], "A").was_read("tumour")
    assert read_reading(absent, absent.cases[0], "A").was_read("tumour")


def test_several_ct_series_are_several_cases_and_patients_are_counted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_rtstruct(
            tmp_path / "in" / f"{name}.dcm", ct(tmp_path / "in" / name, name), {"Liver": box(3, 8)}, label="A"
        )

    data = run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules()))

    assert [case.id for case in data.cases] == ["c0001", "c0002"]
    assert [case.patient for case in data.cases] == ["p0001", "p0002"]
    assert [case.image.name for case in data.cases] == ["one", "two"]


def test_a_tree_without_labels_is_imported_for_prediction(tmp_path: Path) -> None:
    ct(tmp_path / "in" / "a")

    data = run(tmp_path / "in", tmp_path / "out", ImportOptions())

    assert len(data.cases) == 1
    assert data.raters == ()


def test_two_readings_of_one_rater_on_one_ct_are_refused(tmp_path: Path) -> None:
    series = ct(tmp_path / "in" / "a")
    for name, size in (("first", 8), ("second", 9)):
        write_rtstruct(tmp_path / "in" / name, series, {"Liver": box(3, size)}, label="A")

    with pytest.raises(LabelError, match=r"structure set 2: two readings of one rater on series_\w{8}.*rois\.yaml"):
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules()))
    assert not (tmp_path / "out").exists()


def test_a_patients_folder_is_not_taken_for_a_rater(tmp_path: Path) -> None:
    for name in ("Mueller_Erika", "Meier_Hans"):
        write_rtstruct(tmp_path / "in" / name / "rs", ct(tmp_path / "in" / name / "ct", name), {"Liver": box(3, 8)})
    typed = {"Mueller_Erika": "A", "Meier_Hans": "B"}

    with pytest.raises(LabelError, match=r"each rater read one patient only.* `names:`") as refusal:
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules(rater={"from": "folder"})))
    data = run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules(rater={"from": "folder", "names": typed})))

    assert "Mueller" not in str(refusal.value)
    assert data.raters == ("A", "B")


def test_a_rater_called_like_a_patient_id_is_refused(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "in" / "PATIENT_77_left" / "rs", ct(tmp_path / "in" / "ct", "77"), {"Liver": box(3, 8)})

    with pytest.raises(LabelError, match=r"called like patients; .*a PatientID in 1 of 1 names") as refusal:
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules(rater={"from": "folder"})))
    assert "77" not in str(refusal.value)


def test_a_structure_set_whose_ct_is_not_there_is_refused(tmp_path: Path) -> None:
    ct(tmp_path / "in" / "a")
    write_rtstruct(tmp_path / "in" / "rs", ct(tmp_path / "elsewhere", "other"), {"Liver": box(3, 8)}, label="A")

    with pytest.raises(DicomError, match=r"structure set 1: drawn on a CT that is not in the source.*--trust"):
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules()))


def test_positions_alone_suffice_when_the_user_says_so(tmp_path: Path) -> None:
    ct(tmp_path / "in" / "a")
    write_rtstruct(tmp_path / "in" / "rs", ct(tmp_path / "elsewhere", "other"), {"Liver": box(3, 8)}, label="A")

    data = run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules(), trust="positions"))

    assert np.array_equal(read_reading(data, data.cases[0], "A").mask("liver"), box(3, 8))


def test_labels_without_rules_are_refused_with_the_way_to_write_them(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "in" / "rs", ct(tmp_path / "in" / "a"), {"Liver": box(3, 8)})

    with pytest.raises(UsageError, match=r"expected --rois rois\.yaml, got regions Liver\. .*--suggest-rois"):
        run(tmp_path / "in", tmp_path / "out", ImportOptions())


def test_suggested_rules_import_the_tree_they_were_made_of(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "in" / "rs", ct(tmp_path / "in" / "a"), {"Lt Kidney": box(3, 8)})

    suggested = suggest_rois(tmp_path / "in", tmp_path / "rois.yaml")
    data = run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=suggested))

    assert data.labels.foreground == ("kidney_left",)
    assert data.raters == ("reference",)
    with pytest.raises(OutputExistsError):
        suggest_rois(tmp_path / "in", tmp_path / "rois.yaml")


def test_overlapping_regions_need_a_rule(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "in" / "rs", ct(tmp_path / "in" / "a"), {"Liver": box(3, 9), "GTV": box(5, 7)}, label="A")

    with pytest.raises(InputError, match=r"overlap.*priority: \[\.\.\.\].*overlap: separate"):
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules()))


def test_overlapping_regions_merge_by_priority_or_stay_apart(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "in" / "rs", ct(tmp_path / "in" / "a"), {"Liver": box(3, 9), "GTV": box(5, 7)}, label="A")
    first = rules(overlap="priority", priority=("tumour", "liver"))

    merged = run(tmp_path / "in", tmp_path / "merged", ImportOptions(rois=first))
    apart = run(tmp_path / "in", tmp_path / "apart", ImportOptions(rois=rules(overlap="separate")))

    assert np.array_equal(read_reading(merged, merged.cases[0], "A").mask("liver"), box(3, 9) & ~box(5, 7))
    reading = read_reading(apart, apart.cases[0], "A")
    assert isinstance(reading, RegionMap)
    assert np.array_equal(reading.mask("liver"), box(3, 9))


def test_messages_name_no_folder_unless_the_user_asks(tmp_path: Path) -> None:
    series = ct(tmp_path / "in" / "Doe Jane")
    write_rtstruct(tmp_path / "in" / "Doe Jane" / "rs", series, {"Heart": box(3, 8)}, label="A")

    with pytest.raises(MedsegError) as plain:
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules()))
    with pytest.raises(MedsegError) as shown:
        run(tmp_path / "in", tmp_path / "out", ImportOptions(rois=rules(), show_paths=True))

    assert "Doe" not in str(plain.value)
    assert "Doe Jane/rs" in str(shown.value)


def test_real_outlines_give_the_published_masks(shared_data: Path, tmp_path: Path) -> None:
    import nibabel as nib

    labels = {"tumour": {"value": 1, "match": ["GTV_Mass_CT"]}}
    data = run(shared_data / "sts_dicom", tmp_path / "out", ImportOptions(rois=RoiRules(labels=labels)))  # type: ignore[arg-type]

    for case in data.cases:
        published = nib.load(shared_data / "sts_nifti" / case.image.parent.name / "CT_mask.nii.gz")  # type: ignore[attr-defined]
        made = nib.load(case.raters["reference"].path)  # type: ignore[attr-defined]
        ours, theirs = (np.asarray(nib.as_closest_canonical(image).dataobj) > 0 for image in (made, published))  # type: ignore[attr-defined]
        assert np.array_equal(ours, theirs)
