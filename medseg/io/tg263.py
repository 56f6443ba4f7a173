"""Standard names of structures (AAPM Task Group 263), found by the names that people give instead.

The names follow the rules of the report "Standardizing Nomenclatures in Radiation Oncology" (AAPM, 2018): the general
term comes first (Femur_Head), sides at the end (_L, _R), plurals for pairs (Lungs).
"""

from __future__ import annotations

import difflib
import re

PAIRED: dict[str, str] = {  # name without its side: other names, without side, spaces and case
    "A_Carotid": "carotid carotidartery",
    "Atrium": "atria",
    "BrachialPlex": "brachialplexus brachialplexi",
    "Breast": "breasts mamma",
    "Cochlea": "cochleas innerear",
    "Clavicle": "clavicula collarbone",
    "Eye": "eyes eyeball globe orbit",
    "Femur": "femurs femora thighbone",
    "Femur_Head": "femoralhead femoralheads headoffemur femurhead femhead hip caputfemoris",
    "Glnd_Adrenal": "adrenal adrenals adrenalgland suprarenal suprarenalgland",
    "Glnd_Lacrimal": "lacrimal lacrimalgland lachrymalgland",
    "Glnd_Submand": "submandibular submandibulargland smg submand",
    "Hippocampus": "hippocampi hippo",
    "Humerus": "humeri",
    "Joint_TM": "tmj tmjoint temporomandibularjoint",
    "Kidney": "kidneys ren renal",
    "Lens": "lenses eyelens",
    "Lobe_Temporal": "temporallobe",
    "Lung": "lungs pulmo pulmonary",
    "OpticNrv": "opticnerve opticnerves opticnrv opticn",
    "Ovary": "ovaries",
    "Parotid": "parotids parotidgland",
    "Scapula": "scapulae shoulderblade",
    "Testis": "testes testicle",
    "Ventricle": "ventricles cardiacventricle",
}
SINGLE: dict[str, str] = {
    "A_Aorta": "aorta",
    "A_LAD": "lad ladca leftanteriordescending",
    "A_Pulmonary": "pulmonaryartery",
    "Bag_Bowel": "bowelbag bowelspace peritonealcavity",
    "BileDuct_Common": "commonbileduct cbd bileduct",
    "Bladder": "urinarybladder vesica",
    "Bone_Mandible": "mandible jaw lowerjaw",
    "Bone_Pelvic": "pelvis pelvicbone pelvicbones",
    "Bowel_Large": "largebowel largeintestine",
    "Bowel_Small": "smallbowel smallintestine",
    "Brain": "wholebrain cerebrum",
    "Brainstem": "brainstm truncuscerebri",
    "Canal_Anal": "analcanal anus",
    "Carina": "",
    "Cavity_Oral": "oralcavity mouth",
    "Cerebellum": "",
    "Cervix": "cervixuteri uterinecervix",
    "Chestwall": "thoraxwall thoracicwall",
    "Colon": "",
    "Colon_Sigmoid": "sigmoid sigmoidcolon",
    "CouchSurface": "couch couchtop table tabletop",
    "Duodenum": "",
    "Esophagus": "oesophagus esoph oesoph gullet",
    "External": "body skincontour outline bodycontour patientoutline externalcontour",
    "Gallbladder": "gallbladr",
    "Glnd_Thyroid": "thyroid thyroidgland",
    "Heart": "cor",
    "Larynx": "",
    "Lips": "lip",
    "Liver": "hepar",
    "Musc_Constrict": "pharyngealconstrictor constrictor constrictors pharynxconstrictor",
    "OpticChiasm": "chiasm chiasma opticchiasma",
    "Pancreas": "",
    "PenileBulb": "bulbpenis bulb",
    "Pericardium": "heartsac",
    "Pharynx": "",
    "Pituitary": "pituitarygland hypophysis",
    "Prostate": "prostata",
    "Rectum": "",
    "Sacrum": "",
    "SeminalVes": "seminalvesicle seminalvesicles sv",
    "Skin": "",
    "SpinalCanal": "vertebralcanal",
    "SpinalCord": "cord myelon spinal medulla medullaspinalis",
    "Spleen": "lien",
    "Sternum": "",
    "Stomach": "gaster ventriculus",
    "Thymus": "",
    "Tongue": "",
    "Trachea": "windpipe",
    "Uterus": "womb",
    "V_Portal": "portalvein",
    "V_Venacava_I": "ivc inferiorvenacava venacavainferior",
    "V_Venacava_S": "svc superiorvenacava venacavasuperior",
}
TARGETS = ("GTV", "CTV", "ITV", "PTV", "IGTV")
SIDES = {"l": "L", "lt": "L", "lft": "L", "left": "L", "sin": "L", "r": "R", "rt": "R", "rgt": "R", "right": "R",
         "dex": "R"}  # fmt: skip
BOTH = frozenset({"both", "bilat", "bilateral", "total", "combined"})


def _folded(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


BASES = {word: base for table in (PAIRED, SINGLE) for base, others in table.items()
         for word in (_folded(base), *others.split())}  # fmt: skip


def tg263_name(name: str) -> str:
    """The standard name of what a region of interest is called; empty when none is known.

    A paired organ whose side is not told has a name only as a pair: "Kidney" alone is neither left nor right.

    >>> tg263_name("Lt Kidney"), tg263_name("femoral_head_R"), tg263_name("LUNGS"), tg263_name("oesophagus 2")
    ('Kidney_L', 'Femur_Head_R', 'Lungs', 'Esophagus')
    >>> tg263_name("Kidney"), tg263_name("Dummy7"), tg263_name("gtv 1")
    ('', '', 'GTV')
    """
    words = _words(name)
    if target := next((each for each in TARGETS if words and words[0].upper().startswith(each)), ""):
        return target
    sides = [SIDES[word] for word in words if word in SIDES]
    told = "".join(word for word in words if word not in SIDES and word not in BOTH and not word.isdigit())
    base = BASES.get(told) or _nearest(told)
    if base not in PAIRED:
        return base
    if len(sides) == 1:
        return f"{base}_{sides[0]}"
    plural = BOTH.intersection(words) or (told.endswith("s") and not _folded(base).endswith("s"))
    return _plural(base) if plural and not sides else ""


def _words(name: str) -> list[str]:
    """Lower-case words, also those that only capitals or digits divide: `LungLt2` is lung, lt, 2."""
    divided = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)", " ", name)
    return re.findall(r"[a-z]+|\d+", divided.lower())


def _nearest(told: str) -> str:
    """The base of a known word that the name is most probably a misspelling of, or empty."""
    close = difflib.get_close_matches(told, BASES, n=1, cutoff=0.85) if 5 <= len(told) <= 32 else []
    return BASES[close[0]] if close else ""


def _plural(base: str) -> str:
    irregular = {"Ovary": "Ovaries", "Testis": "Testes", "Lens": "Lenses", "Hippocampus": "Hippocampi"}
    return irregular.get(base, f"{base}s")
