"""Under which licence the sets stand that shipped models learn from, as their sources state it."""

from __future__ import annotations

from workbench.extract.formats.sets import SETS as DATA_SETS
from workbench.extract.usm.train.sources import PLANS

RESEARCH = "research use"
# Sets of many types have no licence in the reader's table; these are as stated by their sources (docs/data.md).
_TYPE_SETS = {
    "semcor_wordnet": "CC BY 4.0, WordNet and SemCor licences", "masc_wordnet": "CC BY 4.0, WordNet licence", "dart": "MIT", "geneva": "CC BY 3.0",
    "wtq_silver": "CC BY-SA 4.0", "product_attributes": "Apache-2.0, PAVE part research use", "sgd": "CC BY-SA 4.0", "hwu64_nlu": "CC BY 4.0", "snips": "CC0 1.0",
    "multidogo": "CDLA-Permissive-1.0", "polyai_spans": "CC BY 4.0", "somesci": "CC BY 4.0", "stackoverflow_ner": "MIT", "sofc_exp": "CC BY 4.0", "matsyn": "MIT",
    "phee": "MIT", "wlp": "MIT", "bio_mtl": "CC BY 4.0", "tasteset2": "MIT", "inlegalner_dev": "Apache-2.0", "cyner": "MIT", "mams_absa": "Apache-2.0", "skillspan": "MIT",
}  # fmt: skip


def licence_and_part(name: str) -> tuple[str, str]:
    """Licence of a set as stated, and which part of it is learnt from; for model cards."""
    part = ", ".join(PLANS[name].splits)
    if name not in DATA_SETS:
        return _TYPE_SETS.get(name, RESEARCH), f"{part} (by hash)"
    found = DATA_SETS[name]
    return found.licence.removeprefix("not stated, "), f"{part} (by hash)" if "all" in found.parts else part
