"""Documents of text, and chats of text, to rows of token ids: windows, chat templates, and the role of every token.

Works on the tokenizer that it is given and imports neither torch nor transformers. Letters: T tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.capture.errors import reason
from workbench.inputs.documents import Document, InputError, Message

TEMPLATE_GROUP = "template"  # what the chat template adds around the messages, where groups are chat roles
_Span = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One window of a document, ready to run.

    Attributes:
        document: id of its document; all windows of one have the same.
        ids: [T] token ids, special tokens included.
        offsets: [T] first and last character of each token in the text of the document; None from a slow tokenizer.
        group: name for the whole row, or None.
        groups: [T] name for each token, or None.
        prefix: ids at the start that are the prompt, to be counted apart.
        last: whether its document ends here; only there can a model write on.
    """

    document: str
    ids: tuple[int, ...]
    offsets: tuple[_Span, ...] | None
    group: str | None
    groups: tuple[str, ...] | None = None
    prefix: tuple[int, ...] = ()
    last: bool = True


@dataclass(frozen=True)
class Encoded:
    """Token ids of a text with what is known of each."""

    ids: list[int]
    offsets: list[_Span] | None


class RowMaker:
    """Turns documents into rows of at most `max_length` tokens.

    Args:
        tokenizer: of the model.
        max_length: tokens of a row, special tokens and prompt included.
        by_role: give every token of a chat the role of its message as its group.
        generating: end a chat where the model would answer.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, by_role: bool = False, generating: bool = False) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.by_role = by_role
        self.generating = generating
        self.lead, self.trail = special_ends(tokenizer)

    def rows(self, document: Document) -> list[Row]:
        """The rows of a document without media.

        Raises:
            InputError: if it has no token, the prompt leaves no room, or the tokenizer has no chat template.
        """
        if document.messages:
            return self._chat(document)
        encoded = encode(self.tokenizer, document.text or "")
        lead = list(self.lead)
        prefix: tuple[int, ...] = ()
        if document.prompt:
            lead += encode(self.tokenizer, document.prompt.rstrip() + "\n").ids
            prefix = tuple(lead)
        return self._windows(document, encoded, None, lead, list(self.trail), prefix)

    def _chat(self, document: Document) -> list[Row]:
        text = render(self.tokenizer, document, self.generating)
        groups: list[str] | None = None
        if self.by_role:
            encoded, groups = self._with_roles(text, document)
            if self.generating and groups:
                groups[-1] = "assistant"  # the answer is generated from the last token, and takes over its group
        else:
            encoded = encode(self.tokenizer, text)
        return self._windows(document, encoded, groups, [], [], ())

    def _with_roles(self, text: str, document: Document) -> tuple[Encoded, list[str]]:
        spans = role_spans(text, document)
        encoded = encode(self.tokenizer, text)
        if encoded.offsets is not None:
            return encoded, [_role_at(spans, start, end) for start, end in encoded.offsets]
        ids: list[int] = []  # a slow tokenizer knows no offsets: each stretch is encoded by itself
        groups: list[str] = []
        for start, end, role in spans:
            piece = encode(self.tokenizer, text[start:end]).ids
            ids += piece
            groups += [role] * len(piece)
        return Encoded(ids, None), groups

    def _windows(
        self,
        document: Document,
        encoded: Encoded,
        groups: list[str] | None,
        lead: list[int],
        trail: list[int],
        prefix: tuple[int, ...],
    ) -> list[Row]:
        room = self.max_length - len(lead) - len(trail)
        if room < 1:
            raise InputError(
                f"The prompt and the special tokens take {len(lead) + len(trail)} tokens of a row, which leaves none of the {self.max_length}: "
                "shorten --prompt or raise --max-length."
            )
        if not encoded.ids:
            raise InputError(f"'{document.id}' has no token for this model: put words into it or leave it out.")
        rows = []
        for start in range(0, len(encoded.ids), room):
            ids = encoded.ids[start : start + room]
            offsets = None
            if encoded.offsets is not None:
                nothing: list[_Span] = [(0, 0)]
                offsets = tuple(nothing * len(lead) + encoded.offsets[start : start + room] + nothing * len(trail))
            rows.append(
                Row(
                    document=document.id,
                    ids=tuple(lead + ids + trail),
                    offsets=offsets,
                    group=document.group,
                    groups=None if groups is None else tuple(groups[start : start + room]),
                    prefix=prefix,
                    last=start + room >= len(encoded.ids),
                )
            )
        return rows


def encode(tokenizer: Any, text: str) -> Encoded:
    """Token ids of a text without special tokens around it, with character offsets where the tokenizer knows them."""
    fast = bool(getattr(tokenizer, "is_fast", False))
    found = tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=fast, verbose=False)
    offsets = [(int(start), int(end)) for start, end in found["offset_mapping"]] if fast else None
    return Encoded([int(token) for token in found["input_ids"]], offsets)


def special_ends(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that the tokenizer puts before and after a text."""
    plain = encode(tokenizer, "a").ids
    full = [int(token) for token in tokenizer("a", verbose=False)["input_ids"]]
    for start in range(len(full) - len(plain) + 1):
        if plain and full[start : start + len(plain)] == plain:
            return tuple(full[:start]), tuple(full[start + len(plain) :])
    return (), ()


def as_conversation(messages: tuple[Message, ...], media: dict[Any, Any] | None = None) -> list[dict[str, Any]]:
    """Messages in the form that chat templates take; content is a text where every part is one.

    Args:
        media: what stands for each path (a decoded picture, ...); None: nothing but its type.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        if all(part.kind == "text" for part in message.parts):
            found.append({"role": message.role, "content": message.text})
            continue
        content = []
        for part in message.parts:
            if part.kind == "text":
                content.append({"type": "text", "text": part.text})
            else:
                content.append({"type": part.kind} | ({} if media is None else {part.kind: media[part.path]}))
        found.append({"role": message.role, "content": content})
    return found


def render(tokenizer: Any, document: Document, generating: bool) -> str:
    """A chat of texts as the model reads it.

    Raises:
        InputError: if the tokenizer has no chat template, or the template refuses the chat.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"'{document.id}' is a chat, but the model's tokenizer has no chat template: use a model trained for chats, or give texts."
        )
    open_end = generating and document.messages[-1].role != "assistant"
    try:
        text = tokenizer.apply_chat_template(
            as_conversation(document.messages), tokenize=False, add_generation_prompt=open_end
        )
    except Exception as fault:  # a template is a program of its own and raises what it likes
        raise InputError(
            f"The model's chat template refuses the chat '{document.id}' ({reason(fault)}): change its roles or their order."
        ) from fault
    return str(text)


def role_spans(text: str, document: Document) -> list[tuple[int, int, str]]:
    """The whole of a rendered chat as stretches (start, end, role): what messages say, and "template" for the rest.

    Raises:
        InputError: if a message's words are not in the rendered text.
    """
    spans: list[tuple[int, int, str]] = []
    place = 0
    for number, message in enumerate(document.messages, start=1):
        words = message.text.strip()
        if not words:
            continue
        start = text.find(words, place)
        if start < 0:
            raise InputError(
                f"The model's chat template changes the words of message {number} of '{document.id}', so its tokens have no role: "
                "use another --group-by."
            )
        if start > place:
            spans.append((place, start, TEMPLATE_GROUP))
        place = start + len(words)
        spans.append((start, place, message.role))
    if place < len(text):
        spans.append((place, len(text), TEMPLATE_GROUP))
    return spans


def _role_at(spans: list[tuple[int, int, str]], start: int, end: int) -> str:
    """The role of the stretch that holds most of the characters start to end; the first of two equal ones."""
    best, most = TEMPLATE_GROUP, 0
    for first, last, role in spans:
        shared = min(end, last) - max(start, first)
        if shared > most:
            best, most = role, shared
        if first >= end:
            break
    return best
