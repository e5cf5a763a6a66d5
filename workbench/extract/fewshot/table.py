"""Few-shot results as a table for people, the paper's rows below ours and marked as the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.extract.fewshot.evaluation import against
from workbench.extract.fewshot.published import stated


def result_table(results: Mapping[str, Any], sets: Sequence[str], shots: int) -> list[str]:
    """Lines: a method a row, F1 in percent as mean and standard deviation over support sets.

    Args:
        results: as `evaluation.run` gives them. sets: columns.
    """
    rows = [("F1, percent", [*sets], "mean")]
    for name, result in results.items():
        means = [result["sets"].get(each, {}).get("mean") for each in sets]
        rows.append((name, [_ours(result["sets"].get(each)) for each in sets], _mean(means)))
    for row in stated(shots):
        if values := [row.f1.get((each, shots)) for each in sets]:
            if not any(value is not None for value in values):
                continue
            size = f", {row.parameters:,} M" if row.parameters else ""
            cells = ["-" if value is None else f"{100 * value:.2f}" for value in values]
            rows.append((f"paper: {row.model}{size}, {row.how}", cells, _mean(values)))
    wide = max(len(name) for name, *_ in rows)
    lines = [f"{name:{wide}}" + "".join(f"{cell:>16}" for cell in cells) + f"{mean:>8}" for name, cells, mean in rows]
    lines.append(f"{shots} {'shot' if shots == 1 else 'shots'}; ours: mean ± standard deviation over support sets (n); paper's: ten, whole test parts.")  # fmt: skip
    main, *others = results.items()
    for name, result in others:
        told = [
            f"{each} {100 * value['mean']:+.2f} (above in {value['above']} of {value['episodes']})"
            for each, value in against(main[1], result).items()
            if value["mean"] is not None
        ]
        if told:
            lines.append(f"{main[0]} against {name}, support set by support set: {', '.join(told)}")
    for name, result in results.items():
        for each in sets:
            if orders := result["sets"].get(each, {}).get("orders"):
                lines.append(
                    f"{name}: {each}, {len(orders['f1'])} orders of the support set of seed {orders['seed']}: "
                    f"{100 * orders['least']:.2f} to {100 * orders['greatest']:.2f}, standard deviation {100 * orders['std']:.2f}"
                )
    return lines


def _ours(result: Mapping[str, Any] | None) -> str:
    if result is None or result["mean"] is None:
        return "-"
    return f"{100 * result['mean']:.2f}±{100 * result['std']:.2f} ({result['episodes']})"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * sum(known) / len(known):.2f}" if known and len(known) == len(values) else "-"
