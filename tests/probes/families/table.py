"""Print the table of docs/families.md: every tiny model that the tests build, and what was checked of it.

python -m tests.probes.families.table > table.md
"""

from __future__ import annotations

import sys

from tests.probes.families.build import Family, build
from tests.probes.families.catalogue import QUICK, all_families
from tests.probes.families.observe import Router, find_routers
from tests.probes.families.test_decode import MIXES_TOKENS, NOT_CAUSAL, TIED_INDEXER

HEADER = (
    "| model | directories | router | sites | experts x chosen | ids, weights, counts | causal | decode, left padding | note |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def row(family: Family) -> str:
    """One line of the table."""
    from probes import find_sites

    model = build(family).model
    routers = find_routers(model)
    sizes = sorted({f"{found.site.experts} x {found.site.top_k}" for found in find_sites(model)})
    cells = [
        f"`{family.name}`",
        ", ".join(sorted({directory(router) for router in routers})),
        ", ".join(sorted({type(router.module).__name__ for router in routers})),
        str(len(routers)),
        ", ".join(sizes),
        "always" if family.name in QUICK else "full",
        "upstream defect" if family.name == "nllb_moe" else "yes",
        decoding(family),
        family.note,
    ]
    return "| " + " | ".join(cells) + " |"


def directory(router: Router) -> str:
    """Directory under transformers/models that holds the router's class."""
    return type(router.module).__module__.split(".")[2]


def decoding(family: Family) -> str:
    """What the decode test says of a family."""
    if family.kind != "backbone" or family.name in NOT_CAUSAL:
        return "-"
    if family.name == MIXES_TOKENS:
        return "differs (see below)"
    return "yes, full indexer" if family.name in TIED_INDEXER else "yes"


def main() -> int:
    import transformers

    transformers.logging.set_verbosity_error()
    families = all_families().values()
    covered: set[str] = set()
    print(HEADER)
    for family in families:
        print(row(family))
        covered |= {directory(router) for router in find_routers(build(family).model)}
    print(f"\n{len(families)} models, {len(covered)} model directories, transformers {transformers.__version__}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
