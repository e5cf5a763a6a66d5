"""What the model is given to read: a text, or a text with a picture, sound or clip, through the model's own processor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.errors import WorkbenchError
from workbench.inputs import DEFAULT_PROMPTS, Document, InputError, Message, Part
from workbench.inputs.files import kind_of
from workbench.inputs.media import check_media
from workbench.inputs.media_rows import MediaMaker
from workbench.inputs.rows import RowMaker

if TYPE_CHECKING:
    from workbench.models import LoadedModel
    from workbench.unified.segments import Sample

MEDIA = ("image", "audio", "video")
MAX_CHARACTERS = 100_000  # more is cut off before it is tokenised; the model's positions bound it long before
MAX_TOKENS = 4096  # of a prompt, where the model states no smaller bound
_HUGE = 10**9  # tokenizers say "no limit" with numbers far above this


class LiveError(WorkbenchError):
    """A live run cannot be made as asked."""


@dataclass(frozen=True)
class Prompt:
    """One thing to read.

    Attributes:
        text: the words; may be empty beside a picture, sound or clip, which then gets the usual question.
        files: pictures, sounds and clips in order.
        chat: give it as a message of a chat, through the model's chat template; always so beside a file.
        name: what its sequence is called.
    """

    text: str = ""
    files: tuple[Path, ...] = ()
    chat: bool = False
    name: str = "Prompt"

    def document(self) -> Document:
        """The prompt as a document.

        Raises:
            LiveError: if there is nothing to read, or it is far too long.
            InputError: if a file is none of the kinds that models take.
        """
        if len(self.text) > MAX_CHARACTERS:
            raise LiveError(
                f"A prompt of at most {MAX_CHARACTERS:,} characters was expected, but {len(self.text):,} came: shorten it, or record the whole "
                "text with “New capture from files” on Start."
            )
        if not self.text.strip() and not self.files:
            raise LiveError(
                "A prompt was expected, but the field is empty: type a text, or add a picture, sound or clip."
            )
        if not self.files:
            if not self.chat:
                return Document(self.name, text=self.text)
            return Document(self.name, messages=(Message("user", (Part("text", text=self.text),)),))
        parts = [Part(_kind(file), path=file) for file in self.files]
        words = self.text.strip() or DEFAULT_PROMPTS[parts[0].kind]
        return Document(self.name, messages=(Message("user", (*parts, Part("text", text=words))),), prompt=words)


@dataclass(frozen=True)
class Prepared:
    """A prompt as keyword arguments of the model.

    Attributes:
        name: of the sequence.
        inputs: arguments of `generate`, one row, on the model's device.
        tokens: how many tokens are read.
        sample: the prompt as the unified model takes it where it holds files; such a model writes on in a way of its own.
    """

    name: str
    inputs: dict[str, Any] = field(repr=False)
    tokens: int = 0
    sample: Sample | None = field(default=None, repr=False)


def _kind(file: Path) -> str:
    kind = kind_of(file)
    if kind not in MEDIA:
        raise InputError(
            f"A picture, sound or clip was expected, but '{file.name}' is none: add a file of those kinds."
        )
    check_media(kind, file)
    return kind


def prepare(loaded: LoadedModel, prompt: Prompt, new_tokens: int) -> Prepared:
    """Tokenise a prompt, decode its media, and check that the model has room for it and for what it is to write.

    Raises:
        LiveError: if it is empty or too long.
        InputError: if the model does not take one of its files, or has no tokenizer.
    """
    document = prompt.document()
    generating = new_tokens > 0
    inputs: dict[str, Any]
    sample = None
    if document.media and loaded.is_unified:
        from workbench.unified.live import inputs_of, prompt_of

        sample = prompt_of(loaded, prompt.files, prompt.text)
        inputs = {name: value.to(loaded.model.device) for name, value in inputs_of(loaded, sample).items()}
    elif document.media:
        maker = MediaMaker(loaded.processor, loaded.modalities, loaded.info.id, generating=generating)
        maker.check(document)
        inputs = maker.row(document).inputs
    elif loaded.tokenizer is None:
        kinds = " and ".join(sorted(loaded.modalities)) or "nothing that is read here"
        raise InputError(f"A text was given, and the model '{loaded.info.id}' has no tokenizer (it takes {kinds}).")
    else:
        inputs = _of_text(loaded, document, generating)
    if sample is None:  # the unified model brings floats to its own format itself, and takes places as they are
        inputs = {name: _placed(loaded, value) for name, value in inputs.items()}
    ids = inputs.get("input_ids")
    tokens = int(ids.shape[-1]) if ids is not None else 1
    _check_room(loaded, tokens, new_tokens)
    return Prepared(prompt.name, inputs, tokens, sample)


def _of_text(loaded: LoadedModel, document: Document, generating: bool) -> dict[str, Any]:
    import torch

    (row,) = RowMaker(loaded.tokenizer, 10 * MAX_CHARACTERS, generating=generating).rows(document)
    ids = list(row.ids)
    if generating and not loaded.is_encoder_decoder and document.text is not None:
        ids = _without_end(loaded, ids)
    tensor = torch.tensor([ids], dtype=torch.int64)
    return {"input_ids": tensor, "attention_mask": torch.ones_like(tensor)}


def _without_end(loaded: LoadedModel, ids: list[int]) -> list[int]:
    """A text that is to be continued must not end with the token that ends a text."""
    ends = {getattr(loaded.tokenizer, name, None) for name in ("eos_token_id", "sep_token_id")}
    while len(ids) > 1 and ids[-1] in ends:
        ids = ids[:-1]
    return ids


def _placed(loaded: LoadedModel, value: Any) -> Any:
    """A tensor on the model's device, floats in its number format."""
    if not hasattr(value, "to"):
        return value
    return (
        value.to(loaded.model.device, loaded.model.dtype)
        if value.is_floating_point()
        else value.to(loaded.model.device)
    )


def positions(loaded: LoadedModel) -> int | None:
    """How many tokens the model can hold, prompt and answer together; None where it states no bound."""
    config = loaded.model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = [getattr(text, "max_position_embeddings", None), getattr(loaded.tokenizer, "model_max_length", None)]
    bounds = [int(value) for value in found if isinstance(value, int) and 0 < value < _HUGE]
    return min(bounds) if bounds else None


def _check_room(loaded: LoadedModel, tokens: int, new_tokens: int) -> None:
    room = positions(loaded)
    most = MAX_TOKENS if room is None or loaded.is_encoder_decoder else min(MAX_TOKENS, room - new_tokens)
    if loaded.is_encoder_decoder and room is not None:
        most = min(MAX_TOKENS, room)
    if tokens > most:
        raise LiveError(
            f"A prompt of at most {max(most, 0):,} tokens was expected (the model '{loaded.info.id}' holds "
            f"{room or MAX_TOKENS:,}, of which {new_tokens:,} are kept for new ones), but {tokens:,} came: shorten it, or ask for fewer new tokens."
        )
