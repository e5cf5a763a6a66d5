"""Print the table of docs/submodel.md: what each family lets go, and why not, in the words of the refusals themselves.

python -m tests.probes.submodels.table > table.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from probes import SubModel, SubModelError, find_sites
from probes.submodel.stacks import find_stacks
from tests.probes.families.build import find_class
from tests.probes.families.catalogue import all_families

HEADER = "| model | layers | experts | top-k |\n|---|---|---|---|"


def row(name: str) -> str:
    """One line of the table; the tiny model of the family is asked for a sub-model of each kind."""
    family = all_families()[name]
    with torch.device("meta"):  # modules without weights: plans are made from modules alone
        model = find_class(family.model)(family.config()).eval()
    sites = [found.site for found in find_sites(model)]
    experts = _asked(
        model, [SubModel(experts={site.id: _half(site.experts - site.identity_experts)}) for site in sites]
    )
    if all(site.top_k == 1 for site in sites):
        top_k = "one already"
    else:
        top_k = _asked(model, [SubModel(top_k={site.id: 1}) for site in sites])
    return f"| `{name}` | {_layers(model)} | {experts} | {top_k} |"


def _layers(model: PreTrainedModel) -> str:
    refused: list[str] = []
    for name, stack in find_stacks(model, find_sites(model)).items():
        total = range(len(stack.layers))
        for gone in total:
            try:
                SubModel(layers={name: [index for index in total if index != gone]}).plan(model)
            except SubModelError as fault:
                refused.append(str(fault))
    return _reasons(refused, 0) if refused else "yes"


def _asked(model: PreTrainedModel, wanted: Sequence[SubModel]) -> str:
    refused = []
    for one in wanted:
        try:
            one.plan(model)
        except SubModelError as fault:
            refused.append(str(fault))
    return _reasons(refused, len(wanted)) if refused else "yes"


def _reasons(refused: Sequence[str], of: int) -> str:
    """The reasons of refusals, each once; "in part" where some of the sites can."""
    found = []
    for sentence in refused:
        because = re.search(r"because (.*?):", sentence)
        needs = re.search(r"Layer (\d+) of stack .* (takes .* from layer \d+)", sentence)
        fixed = re.search(r"^Layer (\d+) of stack '(\w+)' cannot", sentence)
        if needs:
            found.append(f"layer {needs[1]} {needs[2]}")
        elif because:
            found.append(f"not layer {fixed[1]}: {because[1]}" if fixed else because[1])
    start = "no: " if of and len(refused) == of else "in part: " if of else "yes, but "
    return start + "; ".join(dict.fromkeys(found))


def _half(experts: int) -> list[int]:
    """Every other expert: half of each group too."""
    return list(range(0, experts, 2))


def main() -> int:
    import transformers

    transformers.logging.set_verbosity_error()
    print(HEADER)
    for name in all_families():
        print(row(name), flush=True)
    print(f"\n{len(all_families())} models, transformers {transformers.__version__}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
