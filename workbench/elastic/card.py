"""What a carved checkpoint says of itself in its model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.elastic.cut import Cut

CARVE_FILE = "carve.json"  # the same for programs: every number of the cut


def note(source: str, sub_model: str, cut: Cut) -> str:
    """A section for the card: what was taken out of which model."""
    return (
        "\n## Carved by the Unified Workbench\n\n"
        f"These weights are a part of `{source}`, taken out as `{sub_model}`: {len(cut.layers)} of {cut.layers_before} layers "
        f"(numbers {ranges(cut.layers)} of the original), {cut.experts_left} of {cut.experts_before} experts in each layer that has experts, "
        f"{cut.top_k} experts a token. The weights that are left were taken over unchanged; `{CARVE_FILE}` lists which experts are left. What the original's "
        "card says of its quality does not hold for this model; its licence does.\n"
    )


def with_note(card: str, text: str) -> str:
    """The old card with the section at its end."""
    return (card.rstrip() + "\n" if card.strip() else "") + text.lstrip("\n" if not card.strip() else "")


def ranges(numbers: tuple[int, ...]) -> str:
    """ "0-3, 5" for (0, 1, 2, 3, 5)."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
