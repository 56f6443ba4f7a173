"""What a paper can take over: the method in one paragraph with its references, versions and a hash of the input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medseg.report.methods import METHODS
from medseg.report.tables import Agreement, differences, judged_metric, tolerance
from medseg.report.wording import is_distance, metric_name, plain

SOURCES: Final = {
    "metrics": "Maier-Hein L et al. Metrics reloaded: recommendations for image analysis validation. Nat Methods 2024. "
    "doi:10.1038/s41592-023-02151-z",
    "nsd": "Nikolov S et al. Clinically applicable segmentation of head and neck anatomy for radiotherapy. J Med "
    "Internet Res 2021. doi:10.2196/26151",
    "bootstrap-t": "Hall P. The Bootstrap and Edgeworth Expansion. Springer 1992. doi:10.1007/978-1-4612-4384-7",
    "bca": "Efron B. Better bootstrap confidence intervals. J Am Stat Assoc 1987. doi:10.1080/01621459.1987.10478410",
    "expanded": "Hesterberg TC. What teachers should know about the bootstrap. Am Stat 2015. "
    "doi:10.1080/00031305.2015.1089789",
    "tost": "Schuirmann DJ. A comparison of the two one-sided tests procedure and the power approach. J Pharmacokinet "
    "Biopharm 1987. doi:10.1007/BF01068419",
    "exact": "Clopper CJ, Pearson ES. The use of confidence or fiducial limits. Biometrika 1934. "
    "doi:10.1093/biomet/26.4.404",
    "holm": "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70",
    "bh": "Benjamini Y, Hochberg Y. Controlling the false discovery rate. J R Stat Soc B 1995. "
    "doi:10.1111/j.2517-6161.1995.tb02031.x",
    "williams": "Williams GW. Comparing the joint agreement of several raters with another rater. Biometrics 1976. "
    "doi:10.2307/2529750",
    "equivalence": "Obuchowski NA, Subhas N, Schoenhagen P. Testing for interchangeability of imaging tests. Acad "
    "Radiol 2014. doi:10.1016/j.acra.2014.07.004",
    "alt_test": "Calderon N, Reichart R, Dror R. The alternative annotator test. 2025. arXiv:2501.10970",
    "staple": "Warfield SK, Zou KH, Wells WM. STAPLE. IEEE Trans Med Imaging 2004. doi:10.1109/TMI.2004.828354",
    "kappa": "Gwet KL. Computing inter-rater reliability in the presence of high agreement. Br J Math Stat Psychol "
    "2008. doi:10.1348/000711006X126600",
    "volume": "Bland JM, Altman DG. Statistical methods for assessing agreement. Lancet 1986. "
    "doi:10.1016/S0140-6736(86)90837-8",
    "icc": "Shrout PE, Fleiss JL. Intraclass correlations. Psychol Bull 1979. doi:10.1037/0033-2909.86.2.420",
    "distribution": "Kohl S et al. A probabilistic U-Net for segmentation of ambiguous images. 2018. arXiv:1806.05034",
    "crps": "Gneiting T, Raftery AE. Strictly proper scoring rules. J Am Stat Assoc 2007. "
    "doi:10.1198/016214506000001437",
    "panel": "Joskowicz L et al. Inter-observer variability of manual contour delineation of structures in CT. Eur "
    "Radiol 2019. doi:10.1007/s00330-018-5695-5",
    "grras": "Kottner J et al. Guidelines for reporting reliability and agreement studies (GRRAS). J Clin Epidemiol "
    "2011. doi:10.1016/j.jclinepi.2010.03.002",
    "claim": "Mongan J, Moy L, Kahn CE. Checklist for artificial intelligence in medical imaging (CLAIM). Radiol Artif "
    "Intell 2020. doi:10.1148/ryai.2020200029",
}


def paper_text(agreement: Agreement) -> tuple[str, list[str]]:
    """A methods paragraph with numbers in brackets, and the references of these numbers in their order."""
    cited: list[str] = []

    def cite(*keys: str) -> str:
        for key in keys:
            if key not in cited:
                cited.append(key)
        return "[" + ", ".join(str(cited.index(key) + 1) for key in keys) + "]"

    text = " ".join(_sentences(agreement, cite))
    return text, [SOURCES[key] for key in cited]


def combined_hash(hashes: Mapping[str, str]) -> str:
    """SHA-256 over the names and hashes of all input files, sorted by name: one number for the whole input."""
    lines = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sentences(agreement: Agreement, cite: Any) -> Iterator[str]:
    config, plan = agreement.get("config", {}), agreement["design"]
    metric = judged_metric(agreement)
    name = metric_name(metric) + (f" at {tolerance(agreement)}" if metric == "nsd" else "")
    yield (
        f"{plan['n_cases']} cases of {plan['n_patients']} patients, outlined by {len(plan['raters'])} readers, were "
        f"compared by {name} {cite('metrics', *(['nsd'] if metric == 'nsd' else []))}."
    )
    if plan["models"]:
        yield from _model_sentences(agreement, metric, cite)
    yield from _interval_sentences(agreement, metric, cite)
    yield from _block_sentences(agreement, cite)
    yield _reporting(agreement, cite)
    versions = agreement.get("provenance", {}).get("versions", {})
    if versions:
        yield "Computed with " + ", ".join(f"{package} {version}" for package, version in versions.items()) + "."
    hashes = agreement.get("provenance", {}).get("input_sha256")
    if isinstance(hashes, Mapping) and hashes:
        yield f"SHA-256 over the hashes of all {len(hashes)} input files: {combined_hash(hashes)}."
    if definition := config.get("surface_rule"):
        yield f"Surfaces: {definition}."


def _model_sentences(agreement: Agreement, metric: str, cite: Any) -> Iterator[str]:
    config = agreement.get("config", {})
    order = "subtracted from" if is_distance(metric) else "minus"
    mean = "the mean over all pairs of the model and a reader"
    yield (
        f"In every case {mean} {order} the mean over all pairs of two readers gave the difference D, which was "
        "averaged over patients; positive favours the model, and no fused reference was used."
    )
    margins = {entry["margin"] for _, _, entry in differences(agreement, metric) if entry.get("margin") is not None}
    if margins:
        stated = " or ".join(plain(float(value)) for value in sorted(margins))
        by = f" ({config['margin']})" if config.get("margin") else ""
        yield (
            f"Equivalence and non-inferiority were judged by the 95 % interval of D and a margin of {stated}{by} "
            f"{cite('tost')}; a class was lowered one step where the upper bound of a "
            f"difference in miss or false-positive rates exceeded {100 * config.get('guard_margin', 0.1):.0f} % "
            f"{cite('exact')}."
        )
    if config.get("primary"):
        yield f"The primary question was {config['primary']}; all others were exploratory {cite('bh')}."
    if config.get("secondary"):
        yield f"Confirmatory secondary questions ({', '.join(config['secondary'])}) were adjusted {cite('holm')}."


def _interval_sentences(agreement: Agreement, metric: str, cite: Any) -> Iterator[str]:
    config = agreement.get("config", {})
    boot = config.get("bootstrap", {})
    used = [key for key in METHODS if any(entry.get("method") == key for _, _, entry in differences(agreement, metric))]
    if rule := config.get("interval_rule"):
        yield f"Intervals: {rule}; {plain(boot.get('draws'))} draws, seed {plain(boot.get('seed'))} " + (
            f"{cite(*used, 'expanded')}.")  # fmt: skip


def _block_sentences(agreement: Agreement, cite: Any) -> Iterator[str]:
    """A sentence for each analysis that the file holds."""
    labels = list(agreement["labels"].values())
    models = [found for entry in labels for found in entry.get("models", {}).values()]

    def has(blocks: list[Any], key: str) -> bool:
        return any(block.get(key) for block in blocks)

    besides = {
        "Williams' index": (has(models, "williams"), "williams"),
        "the individual equivalence index": (has(models, "equivalence_index"), "equivalence"),
        "the alternative annotator test": (has(models, "alt_test"), "alt_test"),
        "STAPLE": (any((entry.get("consensus") or {}).get("staple") for entry in labels), "staple"),
        "chance-corrected agreement": (has(labels, "kappa"), "kappa"),
        "limits of agreement of volumes": (has(labels, "volume"), "volume"),
        "intraclass correlations": (any((entry.get("volume") or {}).get("reliability") for entry in labels), "icc"),
        "the generalised energy distance": (has(models, "distribution"), "distribution"),
        "the continuous ranked probability score of the volume": (has(models, "distribution"), "crps"),
    }
    told = [f"{words} {cite(key)}" for words, (there, key) in besides.items() if there]
    if told:
        yield "Secondary analyses: " + ", ".join(told) + "."
    if has(models, "planning"):
        yield f"The share of readers' variability that a panel captures is that of {cite('panel')}."
    if agreement.get("ranking"):
        yield f"Models were compared on the patients that all of them have, adjusted {cite('holm')}."


def _reporting(agreement: Agreement, cite: Any) -> str:
    lists = "GRRAS " + cite("grras") + (" and CLAIM " + cite("claim") if agreement["design"]["models"] else "")
    return f"Reported along {lists}."
