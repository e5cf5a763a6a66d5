"""A few made texts in place of every data set, with the types that `NAMES` knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.extract import Argument, Document, Event, Relation, Span
from workbench.extract.usm.train.names import NAMES

TEXT = "marie met pierre in paris near warsaw . Oslo is a protein . Bergen is a harbour town . painters such as Munch came ."
RELATIONS = {"scierc": ("Used-for", "Part-of"), "conll04": ("Work_For", "Live_In"), "14res": ("positive", "negative"), "14lap": ("positive",)}  # fmt: skip
EVENTS = {"casie": ("Phishing", tuple(t for t in NAMES["casie"] if t not in ("Databreach", "Phishing", "PatchVulnerability", "Ransom", "DiscoverVulnerability")))}  # fmt: skip
ENTITIES = {
    "bionlp13cg": ("Cancer", "Cell", "Organism", "Simple_chemical", "Gene_or_gene_product"),
    "anatem": ("Organ", "Tissue", "Cell", "Cancer", "Organism_subdivision"),
    "14res": ("aspect", "opinion"),
    "14lap": ("aspect", "opinion"),
}

SCHEMA = {
    "entities": ["person", "city", {"name": "company", "description": "a firm"}],
    "relations": {"works for": {"head": ["person"], "tail": ["company"]}},
    "events": {"attack": ["victim", "place"]},
    "sentiment": {},
}


def documents(name: str, root: Path, split: str = "test", counts: Any = None) -> list[Document]:
    """A few texts of any set, with every type that `NAMES` knows of it."""
    types = (
        ENTITIES.get(name) or tuple(t for t in NAMES.get(name, ()) if t not in RELATIONS.get(name, ())) or ("Thing",)
    )
    words = [("marie", 0), ("pierre", 10), ("paris", 20), ("warsaw", 31)]
    found = []
    for at in range(0, max(1, len(types)), 4):
        spans = [Span(start=s, end=s + len(w), type=t) for (w, s), t in zip(words, types[at : at + 4], strict=False)]
        relations = [
            Relation(type=kind, head=spans[0], tail=spans[1]) for kind in RELATIONS.get(name, ()) if len(spans) > 1
        ]
        events = []
        if name in EVENTS:
            kind, roles = EVENTS[name]
            arguments = tuple(Argument(role=role, start=10, end=16) for role in roles[at : at + 4])
            events = [Event(type=kind, trigger=Span(start=0, end=5, type=kind), arguments=arguments)]
        text = f"{TEXT} {split} {at}"
        found.append(
            Document(
                id=f"{split}{at}", text=text, entities=tuple(spans), relations=tuple(relations) if name in RELATIONS else None,
                events=tuple(events) if name in EVENTS else None,
            )
        )  # fmt: skip
    return found
