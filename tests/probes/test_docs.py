"""The code blocks of docs/probe.md run in order, and what their comments claim is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from probes.errors import ProbeError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "probe.md"


def test_the_page_does_what_it_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {}
    seen = []
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # our own page
        seen.append(names["probe"].capture() if "probe" in names else None)
    notebook, labelled, foretold, own, painter = seen[1:]
    assert notebook.sites[0].id == "text_0_mlp"
    assert notebook.table("count").dims == ("block", "site", "phase", "group", "expert")
    assert notebook.manifest.excluded["text"] == {"padding": 2}
    assert {"document", "position", "token_id", "piece", "experts_text_0_mlp", "weights_text_0_mlp"} <= set(
        notebook.tokens["text"].column_names
    )
    # 6 real tokens and a prompt of 4, then 3 of the 4 generated tokens (fewer if an end token came first).
    assert notebook.table("tokens").sum("block", "group").sel(site="text_0_mlp", phase="prefill").values == 10
    assert labelled.groups == ("novel", "sea story", "finance", "a", "b")
    assert foretold.tokens["text"].column("loss").null_count == 2
    assert foretold.tokens["text"].column("predicted_id").null_count == 0
    assert own.count.sum() == 6
    assert {name: number for name, number in painter.manifest.tokens["text"].items() if number} == {
        "Text": 2,
        "Image und.": 2,
        "Image gen.": 2,
    }


def test_every_error_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for error in [ProbeError, *ProbeError.__subclasses__()]:
        assert f"| `{error.__name__}` |" in text
