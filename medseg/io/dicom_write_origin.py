"""Who made a result, as DICOM objects say it: equipment, software versions, algorithm identification (PS3.3 10.16)."""

from __future__ import annotations

import highdicom as hd
from pydicom.sr.coding import Code

from medseg.io.made_by import MadeBy

MANUFACTURER = "medseg"
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # PS3.16 CID 7162
LONGEST = 64  # of LO, PS3.5 6.2
HASH_LETTERS = 32  # of 64, so that the word before it fits


def software_versions(made_by: MadeBy) -> tuple[str, ...]:
    """Program and, where known, the beginnings of the hashes of model, recipe and postprocessing.

    >>> software_versions(MadeBy("medseg", "0.1.0", model="ab" * 32))
    ('medseg 0.1.0', 'model abababababababababababababababab')
    """
    hashes = (("model", made_by.model), ("recipe", made_by.recipe), ("postprocessing", made_by.postprocessing))
    found = [f"{made_by.algorithm} {made_by.version}".strip()]
    found += [f"{word} {digest[:HASH_LETTERS]}" for word, digest in hashes if digest]
    return tuple(each[:LONGEST] for each in found)


def algorithm_identification(made_by: MadeBy) -> hd.AlgorithmIdentificationSequence:
    """Name, version and, as parameters, the whole hashes of model, recipe and postprocessing."""
    hashes = {key: value for key, value in made_by.facts.items() if key.endswith("_sha256")}
    name = made_by.algorithm[:LONGEST]
    return hd.AlgorithmIdentificationSequence(
        name, ARTIFICIAL_INTELLIGENCE, made_by.version[:LONGEST] or "unknown", source=name, parameters=hashes or None
    )
