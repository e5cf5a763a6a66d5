"""Names of types: readable words and synonyms of the labels that training sets use, and words that are kept out of a run.

A set's own name for a type, written out, is always one of its names, so that an evaluation under the set's own names reads what training
showed. Codes (PER, APT, CHEBI) get words here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from workbench.extract.usm.prompt import verbalise

PERSON = ("person", "people", "person name", "human", "individual")
PLACE = ("location", "place", "geographic location", "place name")
COMPANY = ("organization", "organisation", "company or institution", "institution", "group or organization")
GPE = ("geopolitical entity", "country, city or state", "political entity")
FACILITY = ("facility", "building", "building or structure")
VEHICLE = ("vehicle", "means of transport")
OTHER = ("other named entity", "miscellaneous", "miscellaneous name")
CHEMICAL = ("chemical", "chemical compound", "drug or chemical", "chemical substance")
DISEASE = ("disease", "disease name", "medical condition", "disorder", "illness")
GENE = ("gene or gene product", "gene", "protein", "gene or protein")
SPECIES = ("organism", "species", "living organism", "taxon")
TIME = ("time", "date or time", "time expression", "date")
NUMBER = ("number", "quantity", "numeric value")

_NEWS: dict[str, tuple[str, ...]] = {
    "PER": PERSON, "LOC": PLACE, "ORG": COMPANY, "MISC": OTHER, "GPE": GPE, "FAC": FACILITY, "VEH": VEHICLE, "TIME": TIME, "NUM": NUMBER,
}  # fmt: skip

NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "wnut17": {
        "person": PERSON, "location": PLACE, "corporation": ("company", "business", "corporate name", "firm"),
        "group": ("music band or sports team", "band, team or club", "organization that is no company", "sports team"),
        "creative-work": ("creative work", "song, film, book or show title", "title of a work", "movie or song"),
        "product": ("consumer product", "product name", "brand product"),
    },
    "ncbi_disease": {"Disease": DISEASE},
    "bc5cdr": {"Chemical": CHEMICAL, "Disease": DISEASE},
    "anatem": {"Anatomy": ("anatomical entity", "anatomical structure", "body part", "anatomical part")},
    "bc2gm": {"GENE": GENE},
    "bionlp13cg": {
        "Gene_or_gene_product": GENE, "Cancer": ("tumor", "cancer type", "tumour"), "Cell": ("cell type", "cells"), "Organism": SPECIES,
        "Simple_chemical": ("chemical", "chemical compound", "small molecule"), "Organ": ("body organ",), "Tissue": ("body tissue",),
        "Multi-tissue_structure": ("structure of several tissues", "tissue structure"),
        "Organism_subdivision": ("body part", "region of the body"), "Immaterial_anatomical_entity": ("body cavity or space",),
        "Organism_substance": ("body fluid", "bodily substance"), "Cellular_component": ("part of a cell", "cell component"),
        "Pathological_formation": ("lesion", "pathological tissue"), "Amino_acid": ("amino acid residue",),
        "Anatomical_system": ("organ system", "body system"), "Developing_anatomical_structure": ("embryonic structure",),
    },
    "wikigold": _NEWS, "btc_twitter": _NEWS, "sec_filings": _NEWS, "uner_en_ewt": _NEWS, "litbank": _NEWS | {
        "event": ("event that happened", "event trigger"),
    },
    "re_docred": _NEWS | {
        "P580": ("start time", "start date"), "P582": ("end time", "end date"), "P569": ("date of birth", "birth date"),
        "P570": ("date of death", "death date"), "P577": ("publication date", "release date"), "P571": ("inception", "founding date"),
        "P576": ("date of dissolution", "end of existence"), "P585": ("point in time",), "country of citizenship": ("citizenship", "nationality"),
        "place of birth": ("birthplace", "born in"), "performer": ("performed by",), "director": ("directed by", "film director"),
        "author": ("written by", "writer"), "cast member": ("actor", "starring"), "spouse": ("married to",), "employer": ("works for", "employed by"),
        "headquarters location": ("based in", "headquarters"), "educated at": ("alma mater", "attended school"), "founded by": ("founder",),
    },
    "re3d": {
        "Organisation": COMPANY, "Person": PERSON, "Location": PLACE, "Temporal": TIME, "Quantity": NUMBER,
        "MilitaryPlatform": ("military vehicle or aircraft", "military platform"), "DocumentReference": ("document", "document reference"),
        "CommsIdentifier": ("contact detail", "phone number or address"), "Money": ("amount of money", "monetary amount"),
        "FightingAgainst": ("fights against", "in combat with"), "CommWith": ("communicates with",), "CoLocated": ("located at", "at the same place as"),
        "InChargeOf": ("leads", "in charge of"), "BelongsTo": ("member of", "belongs to"), "AlliesOf": ("allied with",), "IsSynonymOf": ("same as",),
    },
    "fewrel": {
        "Component-Whole": ("part of", "component of"), "Instrument-Agency": ("used by", "instrument of"), "Member-Collection": ("member of",),
        "Cause-Effect": ("causes", "cause of"), "Entity-Destination": ("moved to", "has destination"), "Content-Container": ("contained in",),
        "Message-Topic": ("is about", "has topic"), "Product-Producer": ("produced by", "made by"), "Entity-Origin": ("comes from", "has origin"),
    },
    "conll04": {
        "Loc": PLACE, "Org": COMPANY, "Peop": PERSON, "Other": OTHER, "OrgBased_In": ("organization based in", "headquartered in"),
        "Work_For": ("works for", "employed by"), "Located_In": ("located in", "lies in"), "Live_In": ("lives in", "resides in"),
        "Kill": ("killed", "murdered"),
    },
    "scierc": {
        "Material": ("material, data or resource", "dataset or corpus", "data"), "Method": ("method or model", "technique", "algorithm or system"),
        "Task": ("research task", "problem or application", "scientific task"), "Metric": ("evaluation metric", "evaluation measure"),
        "Generic": ("generic term", "general mention"), "OtherScientificTerm": ("scientific term", "other scientific concept"),
        "Used-for": ("is used for",), "Feature-of": ("is a feature of",), "Hyponym-of": ("is a kind of",), "Part-of": ("is part of",),
        "Compare": ("is compared with",), "Evaluate-for": ("is evaluated for", "evaluates"), "Conjunction": ("is listed together with",),
    },
    "ade": {"drug": ("medication", "medicine"), "adverse effect": ("side effect", "adverse drug reaction"), "dose": ("dosage", "drug dose")},
    "casie": {
        "Databreach": ("data breach", "data theft"), "Phishing": ("phishing attack",), "PatchVulnerability": ("patching of a vulnerability",),
        "Ransom": ("ransomware attack", "ransom demand"), "DiscoverVulnerability": ("discovery of a vulnerability",),
        "Compromised-Data": ("stolen data",), "Victim": ("victim of the attack",), "Attacker": ("attacker or hacker",), "Place": ("place of the event",),
        "Time": ("time of the event",), "Trusted-Entity": ("imitated party",), "Vulnerable_System": ("affected system",), "Releaser": ("who releases the patch",),
        "Tool": ("tool used",), "Purpose": ("goal of the attack",), "Number-of-Victim": ("number of victims",), "Attack-Pattern": ("method of attack",),
        "Number-of-Data": ("amount of data",), "Payment-Method": ("means of payment",), "Price": ("ransom price",), "Damage-Amount": ("amount of damage",),
        "Patch-Number": ("patch identifier",), "Issues-Addressed": ("problem solved by the patch",), "Vulnerable_System_Owner": ("owner of the system",),
        "Discoverer": ("who found the vulnerability",), "Capabilities": ("what an attacker can do",), "CVE": ("vulnerability identifier",),
        "Vulnerable_System_Version": ("affected version",), "Supported_Platform": ("supported platform",),
    },
    "wikievents": _NEWS | {
        "WEA": ("weapon",), "COM": ("commercial product",), "VAL": ("value",), "TTL": ("title", "position"), "SID": ("side in a conflict",),
        "ABS": ("abstract concept",), "MHI": ("medical condition",), "MON": ("money",),
    },
    "14res": {"aspect": ("aspect term", "opinion target"), "opinion": ("opinion term", "opinion expression")},
    "14lap": {"aspect": ("aspect term", "opinion target"), "opinion": ("opinion term", "opinion expression")},
    "aptner": {
        "TIME": TIME, "LOC": PLACE, "SECTEAM": ("security team", "security company"), "TOOL": ("tool", "hacking tool"), "IDTY": ("targeted organization", "identity"),
        "APT": ("advanced persistent threat group", "threat actor", "hacker group"), "MAL": ("malware",), "VULNAME": ("vulnerability name",),
        "VULID": ("vulnerability identifier", "cve number"), "FILE": ("file", "file name"), "ACT": ("attack action", "attack technique"),
        "ENCR": ("encryption algorithm",), "PROT": ("network protocol",), "DOM": ("domain name",), "OS": ("operating system",), "IP": ("ip address",),
        "SHA2": ("hash",), "SHA1": ("hash",), "MD5": ("hash",), "EMAIL": ("email address",), "URL": ("web address",),
    },
    "bio_mtl": {
        "SO": ("sequence feature", "genomic feature"), "Taxon": SPECIES, "GGP": GENE, "CHEBI": CHEMICAL, "CL": ("cell type",),
        "GO": ("biological process", "biological process or cell component"), "Organism": SPECIES, "Protein": ("protein", "protein name"),
        "Chemical": CHEMICAL, "Regulon-operon": ("regulon or operon",), "Gene_or_gene_product": GENE, "Complex": ("protein complex",),
        "Cellular_component": ("part of a cell", "cell component"), "Simple_chemical": ("chemical", "small molecule"), "Species": SPECIES,
    },
    "biored": {
        "OrganismTaxon": SPECIES, "DiseaseOrPhenotypicFeature": (*DISEASE, "disease or symptom"), "ChemicalEntity": CHEMICAL, "GeneOrGeneProduct": GENE,
        "SequenceVariant": ("mutation", "genetic variant"), "CellLine": ("cell line",),
    },
    "inlegalner_dev": {"GPE": GPE, "ORG": COMPANY, "OTHER_PERSON": PERSON, "PRECEDENT": ("precedent", "cited case"), "STATUTE": ("law", "statute", "act of parliament")},
    "mams_absa": {
        "positive": ("positively judged aspect", "what is praised"), "negative": ("negatively judged aspect", "what is criticised"),
        "neutral": ("neutrally mentioned aspect",),
    },
    "maccrobat2020": {
        "Sign_symptom": ("symptom", "sign or symptom"), "Disease_disorder": DISEASE, "Medication": ("drug", "medicine"), "Sex": ("gender",),
        "Biological_structure": ("body part", "anatomical structure"), "Diagnostic_procedure": ("medical test", "diagnostic test"),
        "Therapeutic_procedure": ("treatment", "therapy"), "Lab_value": ("test result", "measured value"),
    },
    "skillspan": {"skill": ("job skill", "ability"), "knowledge": ("field of knowledge", "technology known")},
    "cyner": {"Malware": ("malicious software", "computer virus"), "Indicator": ("indicator of compromise",), "System": ("software or device", "computer system")},
    "tasteset2": {"FOOD": ("ingredient", "food item"), "UNIT": ("unit of measure",), "TRADE_NAME": ("brand name",)},
    "wlp": {"Reagent": ("chemical or reagent", "substance"), "Device": ("laboratory device", "equipment")},
    "stackoverflow_ner": {
        "Language": ("programming language",), "Library": ("software library",), "Application": ("software application", "program"),
        "Device": ("hardware device",), "Algorithm": ("algorithm name",), "Organization": COMPANY,
    },
}  # fmt: skip

# Types that are no types of things, or that a reader could not tell from their name.
DROPPED: dict[str, frozenset[str]] = {
    "stackoverflow_ner": frozenset({"Code_Block", "Output_Block"}),
    "somesci": frozenset({"unstructured", "wrong_place", "incomplete_content", "duplicate", "wrong_content", "PubDate_nd"}),
    "wiesp2022_astro": frozenset({"TextGarbage", "Tag"}),
    "dart": frozenset({"[title]", "name", "type", "number", "content", "eattype", "near", "familyfriendly", "octal", "binary"}),
    "semcor_wordnet": frozenset({"abstraction", "attribute", "measure", "entity", "object", "whole", "psychological feature", "state", "property", "group action"}),
    "masc_wordnet": frozenset({"abstraction", "attribute", "measure", "entity", "object", "whole", "psychological feature", "state", "property"}),
    "multidogo": frozenset({"pizza\"", "salad\"", "romaine", "variety", "datacategoryvalues"}),
    "maccrobat2020": frozenset({"Coreference", "Other_entity", "Other_event"}),
}  # fmt: skip


@lru_cache(maxsize=100_000)
def normal(name: str) -> str:
    """A name for comparison: lower case, words only, no plural s."""
    words = re.findall(r"[^\W_]+", verbalise(name).lower())
    return " ".join(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words
    )


def names_of(set_: str, type_: str) -> tuple[str, ...]:
    """Every name of a type: the set's own, written out, then its synonyms."""
    return tuple(dict.fromkeys((verbalise(type_), *NAMES.get(set_, {}).get(type_, ()))))


def banned_names(held_out: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Normal forms of every name and synonym of the types of the sets that a run keeps out.

    Args:
        held_out: set -> its types.
    """
    return frozenset(
        normal(name) for set_, types in held_out.items() for type_ in types for name in names_of(set_, type_)
    )


def allowed_names(set_: str, type_: str, banned: frozenset[str]) -> tuple[str, ...]:
    """The names under which a type may be trained: all, or none if one of them is kept out, so that a synonym cannot slip in."""
    names = names_of(set_, type_)
    return () if any(normal(name) in banned for name in names) else names


def without_names(definitions: Mapping[str, str], banned: frozenset[str]) -> dict[str, str]:
    """Those definitions that say none of the names that are kept out."""
    if not banned:
        return dict(definitions)
    words = {name: f" {normal(text)} " for name, text in definitions.items()}
    return {name: text for name, text in definitions.items() if not any(f" {each} " in words[name] for each in banned)}
