"""What the sets that `unseen` keeps out mean by their entity types, in the words of their annotation guides, shortened.

Written from the guides alone, before any model was measured with them; never learnt from.
"""

from __future__ import annotations

DESCRIBED: dict[str, dict[str, str]] = {
    "bionlp13cg": {
        "Gene_or_gene_product": "gene, protein or RNA, by its name or symbol",
        "Cancer": "malignant tumor or kind of cancer",
        "Cell": "cell type or cell line",
        "Organism": "animal, human, plant, virus or bacterium",
        "Simple_chemical": "drug, ion or other small chemical compound",
        "Organ": "organ of the body, such as liver or lung",
        "Tissue": "tissue of the body, such as epithelium or stroma",
        "Multi-tissue_structure": "part of the body made of several tissues, such as a blood vessel",
        "Organism_subdivision": "region of the body, such as head or limb",
        "Immaterial_anatomical_entity": "space or cavity in the body",
        "Organism_substance": "fluid of the body, such as blood, serum or urine",
        "Cellular_component": "part of a cell, such as nucleus or membrane",
        "Pathological_formation": "lesion or other abnormal structure in the body",
        "Amino_acid": "amino acid, such as serine or tyrosine",
        "Anatomical_system": "system of the body, such as the nervous system",
        "Developing_anatomical_structure": "structure of an embryo",
    },
    "anatem": {"Anatomy": "part of the body, organ, tissue, cell, cell part or body fluid"},
    "scierc": {
        "Task": "application, problem to solve or system to construct",
        "Method": "method, model, algorithm or system that is used",
        "Metric": "measure that expresses the quality of a system or method",
        "Material": "data, dataset, corpus or other resource",
        "OtherScientificTerm": "scientific term that is neither a task, method, metric nor material",
        "Generic": "general term or pronoun such as model, it, our approach",
    },
}  # fmt: skip
