"""The embedded default model: a small mixture of experts trained on real text of five kinds.

Three commands make it: ``python -m workbench.embedded.collect`` lays out the text, ``python -m workbench.embedded`` trains,
``python -m workbench.embedded.evaluate`` measures on held-out documents and writes the model card.
"""

from __future__ import annotations

KINDS = ("prose", "dialogue", "code", "tables", "german")
"""The kinds of text, in the order of every table; each is a folder under the data root."""
