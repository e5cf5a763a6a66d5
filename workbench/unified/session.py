"""A sequence that grows: what has been fed stays in a cache, and new tokens of any modality are laid behind it.

Rows of a batch may differ in length: padding between prompt and continuation belongs to no document, so nothing sees it.
Letters: B rows, T new tokens, Z bits, A levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from workbench.unified.batch import FIELDS, make_batch, to_device
from workbench.unified.experts import Reduction
from workbench.unified.layout import MODE_TEXT, NONE, READ
from workbench.unified.masks import Rows
from workbench.unified.model import AudioChoice, UnifiedForCausalLM, UnifiedOutput
from workbench.unified.segments import Sample, UnifiedError

if TYPE_CHECKING:
    from workbench.unified.tokenizers.bundle import Tokenizers

TARGETS = ("labels", "bit_labels", "audio_labels", "task")


class Session:
    """Prompts that have been fed, ready to be continued.

    Args:
        model: in evaluation mode.
        tokenizers: encode the pictures of the prompts.
        prompts: a sample a row; nothing follows their last token.
        reduction: a smaller model to run.
    """

    def __init__(
        self,
        model: UnifiedForCausalLM,
        tokenizers: Tokenizers,
        prompts: Sequence[Sample],
        reduction: Reduction | None = None,
    ) -> None:
        self.model, self.reduction = model, reduction
        batch = to_device(make_batch(prompts, model.config, tokenizers), model.device)
        lengths = batch["attention_mask"].sum(1)
        longest = int(lengths.max())
        if longest > model.config.max_position_embeddings:
            raise UnifiedError(
                f"Expected a prompt of at most {model.config.max_position_embeddings} tokens, got {longest}: shorten it."
            )
        self.cache = DynamicCache()
        self.keys = Rows(batch["document"], batch["block"], batch["frame"], batch["hidden"])
        last = (lengths - 1)[:, None]
        self.index = batch["positions"][..., 0].gather(1, last)[:, 0] + 1  # the last token of a prompt is text
        self.block = batch["block"].gather(1, last)[:, 0] + 1
        given = {name: value for name, value in batch.items() if name not in TARGETS}
        out = self._run(given, None)
        rows = torch.arange(len(lengths), device=model.device)
        assert out.logits is not None
        self.text_logits = out.logits[rows, lengths - 1]

    @property
    def rows(self) -> int:
        return len(self.index)

    def text(
        self,
        tokens: Tensor,
        *,
        modality: int = MODE_TEXT,
        role: int = READ,
        scale: int = -1,
        frame: int = -1,
        codes: Tensor | None = None,
        choice: AudioChoice | None = None,
    ) -> UnifiedOutput:
        """Feed one causal token a row.

        Args:
            tokens: int64 [B].
            modality, role, scale, frame: of the token.
            codes: int64 [B, A] of a step of sound, or None.
            choice: chooses codes, where the token makes sound.
        """
        columns = np.array([[0, frame, modality, role, scale, NONE]])
        out = self.feed(tokens[:, None], np.zeros((1, 3), np.float32), columns, codes=codes, choice=choice)
        self.index = self.index + 1
        return out

    def feed(
        self,
        ids: Tensor,
        places: np.ndarray,
        columns: np.ndarray,
        *,
        visual: Tensor | None = None,
        before: Tensor | None = None,
        whole: Tensor | None = None,
        codes: Tensor | None = None,
        choice: AudioChoice | None = None,
    ) -> UnifiedOutput:
        """Feed tokens behind what there is.

        Args:
            ids: int64 [B, T].
            places: float32 [T, 3], counted from each row's running index.
            columns: int64 [T, 6] as in a layout; blocks count from the next block.
            visual, before: float [B, T, Z], whole: float [B, Z * M * M] of a single token, codes: int64 [B, A] of a single token.
            choice: chooses codes of positions that make sound.

        Returns:
            Logits of all T tokens.
        """
        rows, tokens = ids.shape
        device = ids.device
        spread = torch.from_numpy(columns).to(device)[None].expand(rows, -1, -1)
        given: dict[str, Tensor] = {name: spread[..., number] for number, name in enumerate(FIELDS) if name != "labels"}
        given["block"] = given["block"] + self.block[:, None]
        given["positions"] = torch.from_numpy(places).to(device)[None] + self.index[:, None, None]
        given["document"] = torch.zeros_like(ids)
        given["hidden"] = torch.zeros_like(ids, dtype=torch.bool)
        given["input_ids"] = ids
        if visual is not None:
            given["visual"] = visual
        if before is not None:
            given["before"] = before
        if whole is not None:
            given["whole"], given["whole_index"] = whole, torch.arange(rows, device=device) * tokens
        if codes is not None:
            given["audio_codes"] = codes[:, None]
        self.keys = self.keys.joined(Rows(given["document"], given["block"], given["frame"], given["hidden"]))
        self.block = given["block"][:, -1] + 1
        return self._run(given, choice)

    @torch.no_grad()
    def _run(self, given: dict[str, Tensor], choice: AudioChoice | None) -> UnifiedOutput:
        found: UnifiedOutput = self.model(
            **given,
            past_key_values=self.cache,
            use_cache=True,
            key_rows=self.keys,
            reduction=self.reduction,
            audio_choice=choice,
        )
        return found
