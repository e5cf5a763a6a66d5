"""Labels of the tokens of many calls at once: document, modality and role, group, and why a token is in no group.

Letters: B rows, T tokens of a row, N tokens of all calls together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probes.calls import Call, prefix_mask
from probes.labels import Documents, GroupTable, repeat_rows
from probes.modality import IMAGE, TEXT, UNKNOWN, VIDEO, Endings, Placeholders, default_group

# Why a token is in no group.
REASONS = ("", "padding", "special", "no document", "prefix")
PADDING, SPECIAL, NO_DOCUMENT, PREFIX = range(1, 5)


@dataclass(frozen=True)
class Settings:
    """What a capture records.

    Attributes:
        tokens, coactivation, scores, predicted, loss: optional streams.
        max_tokens, seed: bound and sampling of token rows, a stack.
        special: ids of special tokens.
        endings: ids fed after the end of a row.
        placeholders: ids that stand for other modalities.
    """

    tokens: bool
    coactivation: bool
    scores: bool
    max_tokens: int
    seed: int
    special: tuple[int, ...]
    endings: Endings
    placeholders: Placeholders
    predicted: bool = False
    loss: bool = False


class TokenLabels:
    """Works out the labels of calls.

    Args:
        settings: special tokens, endings and placeholders of the model.
        documents, groups: the tables in which documents and groups have their numbers.
    """

    def __init__(self, settings: Settings, documents: Documents, groups: GroupTable) -> None:
        self.settings = settings
        self.documents = documents
        self.groups = groups
        self._special: dict[torch.device, Tensor] = {}

    def documents_of(self, call: Call) -> np.ndarray:
        if not call.pooled:
            return call.rows.documents_of(call.shape, call.decode).reshape(-1)
        return self._rows_of_patches(call)

    def _rows_of_patches(self, call: Call) -> np.ndarray:
        """Document of each patch: images stand in the order of their placeholders, so patches follow the rows' shares.

        Where the number of patches is no multiple of the number of placeholders, all belong to the first row's document.
        """
        assert call.rows.row_documents is not None
        documents = call.rows.row_documents
        for other in call.siblings:
            if other.pooled or other.input_ids is None or len(documents) < 2:
                continue
            codes = self.settings.placeholders.modality(other.input_ids)
            if codes is None:
                continue
            for kind in (IMAGE, VIDEO):
                shares = torch.eq(codes, kind).sum(dim=1).cpu().numpy()
                total = int(shares.sum())
                if total and call.tokens % total == 0:
                    return np.repeat(repeat_rows(documents, len(shares)), shares * (call.tokens // total))
        return np.full(call.tokens, documents[0], dtype=np.int64)

    def modality(self, calls: list[Call], device: torch.device) -> tuple[Tensor | int, Tensor | int]:
        """Modality and role codes of all tokens; a number where they are all the same."""
        placeholders = self.settings.placeholders
        role: Tensor | int = 0
        if any(call.roles is not None for call in calls):
            role = torch.cat(
                [
                    torch.zeros(call.tokens, dtype=torch.int64, device=device)
                    if call.roles is None
                    else call.roles.reshape(-1).to(device).long()
                    for call in calls
                ]
            )
        if any(call.kinds is not None or call.pooled for call in calls):
            parts = [self._modality_of(call, device) for call in calls]
            return torch.cat(parts), role
        if all(call.input_ids is not None for call in calls):
            if not placeholders.ids:
                return TEXT, role
            codes = placeholders.modality(joined([call.input_ids.reshape(-1) for call in calls]))  # type: ignore[union-attr]
            assert codes is not None
            return codes.to(device).long(), role
        if placeholders.text_only:
            return TEXT, role
        return torch.cat([self._modality_of(call, device) for call in calls]), role

    def _modality_of(self, call: Call, device: torch.device) -> Tensor:
        if call.kinds is not None:
            return call.kinds.reshape(-1).to(device).long().clamp(0, UNKNOWN)
        code = TEXT if self.settings.placeholders.text_only else UNKNOWN
        if call.pooled:
            code = IMAGE
        elif call.input_ids is not None:
            codes = self.settings.placeholders.modality(call.input_ids)
            if codes is not None:
                return codes.reshape(-1).to(device).long()
            code = TEXT
        return torch.full((call.tokens,), code, dtype=torch.int64, device=device)

    def group(self, calls: list[Call], modality: Tensor | int, role: Tensor | int, device: torch.device) -> Tensor:
        """int64 [N], group index of every token."""
        named = [
            call.rows.groups_of(call.shape, call.decode) if not call.pooled else self._pooled_groups(call)
            for call in calls
        ]
        tokens = sum(call.tokens for call in calls)
        by_modality: Tensor | None = None
        if any(part is None for part in named):
            index = self.groups.default_indices()
            table = torch.tensor(
                [[index[default_group(m, r)] for r in (0, 1)] for m in range(UNKNOWN + 1)], device=device
            )
            by_modality = table[modality, role]
            by_modality = by_modality.expand(tokens) if by_modality.dim() == 0 else by_modality
        if all(part is None for part in named):
            assert by_modality is not None
            return by_modality
        parts, start = [], 0
        for call, part in zip(calls, named, strict=True):
            if part is None:
                assert by_modality is not None
                parts.append(by_modality[start : start + call.tokens])
            else:
                parts.append(torch.as_tensor(np.ascontiguousarray(part.reshape(-1)), device=device))
            start += call.tokens
        return torch.cat(parts)

    def _pooled_groups(self, call: Call) -> np.ndarray | None:
        if call.rows.row_groups is None or call.rows.row_documents is None:
            return None
        by_document = dict(zip(call.rows.row_documents.tolist(), call.rows.row_groups.tolist(), strict=True))
        return np.array([by_document[number] for number in self._rows_of_patches(call).tolist()], dtype=np.int64)

    def reasons(
        self, calls: list[Call], documents: np.ndarray, modality: Tensor | int, device: torch.device
    ) -> Tensor | None:
        """uint8 [N], why a token is in no group (0: it is in one); None if every token is."""
        reason: Tensor | None = None

        def mark(mask: Tensor, code: int, reason: Tensor | None) -> Tensor:
            if reason is None:
                reason = torch.zeros(len(documents), dtype=torch.uint8, device=device)
            return reason.masked_fill_(mask & (reason == 0), code)

        if any(call.padding is not None for call in calls):
            parts = [
                torch.zeros(call.tokens, dtype=torch.bool, device=device)
                if call.padding is None
                else call.padding.reshape(-1).to(device)
                for call in calls
            ]
            reason = mark(joined(parts), PADDING, reason)
        nowhere = documents < 0
        if nowhere.any():
            reason = mark(torch.as_tensor(nowhere, device=device), NO_DOCUMENT, reason)
        if any(call.rows.labels.prefix_ids and not call.decode for call in calls):
            parts = [self._prefix_of(call, device) for call in calls]
            reason = mark(torch.cat(parts), PREFIX, reason)
        if self.settings.special and any(call.input_ids is not None for call in calls):
            parts = [
                torch.full((call.tokens,), -1, dtype=torch.int64, device=device)
                if call.input_ids is None
                else call.input_ids.reshape(-1).to(device).long()
                for call in calls
            ]
            ids = joined(parts)
            table = self._special_table(device)
            special = table[ids.clamp(0, len(table) - 1)] & (ids >= 0) & (ids < len(table))
            # A placeholder of an image is special to the tokenizer, but stands for an image.
            special = special & (modality == TEXT) if isinstance(modality, Tensor) else special
            reason = mark(special, SPECIAL, reason)
        return reason

    def _prefix_of(self, call: Call, device: torch.device) -> Tensor:
        prefix = call.rows.labels.prefix_ids
        if not prefix or call.decode or call.input_ids is None:
            return torch.zeros(call.tokens, dtype=torch.bool, device=device)
        return prefix_mask(call.input_ids, call.padding, prefix).reshape(-1).to(device)

    def _special_table(self, device: torch.device) -> Tensor:
        table = self._special.get(device)
        if table is None:
            table = torch.zeros(max(self.settings.special) + 1, dtype=torch.bool, device=device)
            table[torch.tensor(self.settings.special, device=device)] = True
            self._special[device] = table
        return table

    def mark_finished(self, stack: int, calls: list[Call]) -> None:
        """Mark as padding what generation feeds to a row that has ended, which the attention mask calls real.

        A pad id before any end id is a token that the model wrote; without known end ids every pad id is padding.
        """
        pad, eos = self.settings.endings.pad, self.settings.endings.eos
        if pad is None:
            return
        sequences: dict[int, list[Call]] = {}
        for call in calls:
            if call.decode and call.input_ids is not None:
                sequences.setdefault(id(call.rows), []).append(call)
        for sequence in sequences.values():
            rows = sequence[0].rows
            tokens = torch.cat([call.input_ids for call in sequence], dim=1)  # type: ignore[misc]
            padding = tokens == pad
            if eos:
                ends = torch.zeros_like(padding)
                for end in eos:
                    ends |= tokens == end
                before = ends.long().cumsum(dim=1) - ends.long() > 0
                past = rows.finished.get(stack)
                if past is not None and len(past) == len(tokens):
                    before |= past.unsqueeze(1)
                    ends |= past.unsqueeze(1)
                rows.finished[stack] = ends.any(dim=1)
                padding &= before
            start = 0
            for call in sequence:
                part = padding[:, start : start + call.shape[1]]
                call.padding = part if call.padding is None else call.padding.to(part.device) | part
                start += call.shape[1]


def joined(parts: list[Tensor]) -> Tensor:
    """Concatenate along the tokens; the parts of a pipeline may lie on different devices."""
    if len(parts) == 1:
        return parts[0]
    device = parts[0].device
    return torch.cat([part.to(device) for part in parts])
