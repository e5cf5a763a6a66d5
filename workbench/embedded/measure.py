"""Loss and routing of a model on documents, by kind.

Long documents are cut into windows of the model's context; every window starts with the boundary token, and every token but the
boundaries is predicted once. Routing is recomputed from the router logits that transformers returns, so that these numbers
do not rest on the workbench's own probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.embedded.corpus import Document

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 4


@dataclass(frozen=True)
class Measured:
    """What a model did on the documents of one kind."""

    documents: int
    tokens: int  # predicted tokens
    bytes: int  # of UTF-8 text
    nats: float  # sum of -ln p over the predicted tokens
    count: np.ndarray  # int64 [half, L, E]: chosen experts over the predicted tokens' inputs, boundaries left out

    @property
    def nats_a_token(self) -> float:
        """Mean loss."""
        return self.nats / self.tokens

    @property
    def bits_a_byte(self) -> float:
        """Loss that does not depend on the tokenizer."""
        return self.nats / np.log(2) / self.bytes


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document]) -> Measured:
    """Run the documents of one kind through a model.

    Args:
        model: Qwen3-MoE (or another family that returns ``router_logits`` before the softmax, with top-k of them chosen).
        tokenizer: puts its boundary token first.
        documents: texts; even and odd ones are counted apart (``count`` has two halves).
    """
    import torch

    context, top_k = int(model.config.max_position_embeddings), int(model.config.num_experts_per_tok)
    boundary = tokenizer.bos_token_id
    windows: list[tuple[int, list[int]]] = []
    for number, document in enumerate(documents):
        ids = tokenizer(document.text, add_special_tokens=False, verbose=False)["input_ids"]
        windows += [(number % 2, [boundary, *ids[i : i + context - 1]]) for i in range(0, len(ids), context - 1)]
    windows.sort(key=lambda window: len(window[1]))  # little padding in a batch
    nats, tokens = 0.0, 0
    count = np.zeros((2, int(model.config.num_hidden_layers), int(model.config.num_experts)), dtype=np.int64)
    model.eval()
    with torch.no_grad():
        for start in range(0, len(windows), BATCH):
            rows = windows[start : start + BATCH]
            longest = max(len(ids) for _, ids in rows)
            ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for r, (_, row) in enumerate(rows):
                ids[r, : len(row)] = torch.tensor(row)
                mask[r, : len(row)] = 1
            result = model(input_ids=ids, attention_mask=mask, output_router_logits=True, use_cache=False)
            loss = torch.nn.functional.cross_entropy(
                result.logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none"
            )
            nats += float((loss.double() * mask[:, 1:]).sum())
            tokens += int(mask[:, 1:].sum())
            text = mask.clone().bool()
            text[:, 0] = False  # the boundary
            for layer, logits in enumerate(result.router_logits):
                chosen = logits.view(len(rows), longest, -1).topk(top_k, dim=-1).indices
                for r, (half, _) in enumerate(rows):
                    count[half, layer] += np.bincount(chosen[r][text[r]].flatten().numpy(), minlength=count.shape[-1])
    return Measured(len(documents), tokens, sum(len(d.text.encode()) for d in documents), nats, count)


def pooled_load(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the load of every expert when each kind has the same number of tokens.

    Args:
        counts: for each kind int64 [L, E].

    Returns:
        float64 [L, E]; each row sums to 1.
    """
    return np.mean([count / count.sum(-1, keepdims=True) for count in counts], axis=0)


def max_violation(load: np.ndarray) -> np.ndarray:
    """MaxVio, (largest load - mean load) / mean load, of each layer (Wang et al. 2024, arXiv 2408.15664, section 4.1).

    Args:
        load: shares or counts [L, E].
    """
    return load.max(-1) / load.mean(-1) - 1


def top_share(count: np.ndarray, share: float) -> list[set[int]]:
    """The most used experts of each layer, ``share`` of E rounded; ties go to the lower expert number.

    Args:
        count: [L, E].
        share: q, between 0 and 1.
    """
    most = max(1, round(share * count.shape[-1]))
    return [set(np.lexsort((np.arange(len(row)), -row))[:most].tolist()) for row in count]


def overlap(one: np.ndarray, other: np.ndarray, share: float = 0.25) -> np.ndarray:
    """IoU of the most used experts of two groups, in each layer (ERNIE 5.0 report, Figure 9).

    Args:
        one: counts [L, E] of one group.
        other: counts [L, E] of the other.
        share: q; two independent random sets overlap by about q / (2 - q).
    """
    pairs = zip(top_share(one, share), top_share(other, share), strict=True)
    return np.array([len(a & b) / len(a | b) for a, b in pairs])
