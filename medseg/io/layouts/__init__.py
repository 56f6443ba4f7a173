"""The table of all layouts that `medseg import` knows: a new one is a file with a `find_...` and a line here."""

from __future__ import annotations

from medseg.config import nearest
from medseg.errors import UsageError
from medseg.io.layouts.bids import find_bids
from medseg.io.layouts.curvas import find_curvas
from medseg.io.layouts.dicom_tree import find_dicom
from medseg.io.layouts.kits import find_kits
from medseg.io.layouts.layout import Importer
from medseg.io.layouts.lidc import find_lidc
from medseg.io.layouts.msd import find_msd
from medseg.io.layouts.nnunet import find_nnunet
from medseg.io.layouts.raters import find_raters

FILES = ("labels", "partial", "tilt", "nan_hu")  # options of every layout of image files
SERIES = ("tilt", "gaps")  # of layouts of DICOM series
REGIONS = ("rois", "trust", "crossing", "fill_slices", "threshold", "show_paths")
LAYOUTS = {
    "nnunet": Importer(find_nnunet, (*FILES, "rater", "only", "assume_ct"), "nnU-Net raw data, v1 and v2"),
    "msd": Importer(find_msd, (*FILES, "rater", "assume_ct"), "Medical Segmentation Decathlon"),
    "bids": Importer(find_bids, (*FILES, "rater", "raters", "rater_from", "only"), "BIDS derivatives, VerSe"),
    "kits": Importer(find_kits, (*FILES, "rater", "kits_labels"), "KiTS19, KiTS21, KiTS23"),
    "curvas": Importer(find_curvas, FILES, "CURVAS, three radiologists"),
    "lidc": Importer(find_lidc, SERIES, "LIDC-IDRI, up to four radiologists"),
    "dicom": Importer(find_dicom, (*SERIES, "rater", *REGIONS), "DICOM CT with structure sets and segmentations"),
    "raters": Importer(find_raters, (*FILES, "raters"), "images/ and raters/<rater>/"),
}


def find_importer(name: str) -> Importer:
    """The importer of a layout.

    Raises:
        UsageError: there is none of that name; the nearest is named.
    """
    if name not in LAYOUTS:
        raise UsageError(f"no layout '{name}'{nearest(name, LAYOUTS)}", expected="one of " + ", ".join(LAYOUTS))
    return LAYOUTS[name]
