"""Documents with pictures, sounds and clips to the inputs of a model, through its own processor.

A document is a batch of its own: processors differ too much in how they stack pictures of different sizes. The processor
that is given makes the tensors; this module imports no torch itself.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError, reason
from workbench.inputs.documents import Document, InputError, Part
from workbench.inputs.media import open_clip, open_image, open_sound
from workbench.inputs.rows import TEMPLATE_GROUP, as_conversation

NAMES = {"image": "picture", "audio": "sound", "video": "clip"}
_ARGUMENT = {"image": "images", "audio": "audio", "video": "videos"}
DEFAULT_RATE = 16_000


@dataclass(frozen=True)
class MediaRow:
    """One document as the model takes it.

    Attributes:
        document: its id.
        inputs: keyword arguments of the model.
        group: name for the whole document, or None.
        groups: [T] name for each token, or None.
        rows: of the pass that the document takes.
        exact: floats keep their number format whatever the model's is; else they take it.
    """

    document: str
    inputs: dict[str, Any]
    group: str | None
    groups: tuple[str, ...] | None
    rows: int = 1
    exact: bool = False


class MediaMaker:
    """Runs documents through a processor.

    Args:
        processor: of the model; an image processor by itself makes pixels alone.
        modalities: what the model takes besides text.
        model_name: for sentences.
        by_role, generating: as in `RowMaker`.
    """

    def __init__(
        self,
        processor: Any,
        modalities: frozenset[str],
        model_name: str,
        *,
        by_role: bool = False,
        generating: bool = False,
    ) -> None:
        self.processor = processor
        self.modalities = modalities
        self.model_name = model_name
        self.by_role = by_role
        self.generating = generating

    def check(self, document: Document) -> None:
        """Raise InputError if the model cannot take one of the document's media."""
        for part in document.media:
            if part.kind == "video" and self._lacks_torchvision():
                raise InputError(
                    f"'{part.path.name if part.path else document.id}' is a clip, and '{self.model_name}' prepares clips with the package "
                    "torchvision, which is not installed: install it with `pip install 'unified-workbench[clips]'`."
                )
            if part.kind not in self.modalities:
                takes = (
                    " and ".join(["text", *(NAMES[kind] + "s" for kind in sorted(self.modalities))])
                    if self.modalities
                    else "text alone"
                )
                name = part.path.name if part.path is not None else document.id
                raise InputError(
                    f"'{name}' is a {NAMES[part.kind]}, and the model '{self.model_name}' takes {takes}: leave it out, or choose a model "
                    f"that takes {NAMES[part.kind]}s."
                )

    def _lacks_torchvision(self) -> bool:
        """Whether the processor has a place for clips that stayed empty (workbench/models/processors.py)."""
        return "video" not in self.modalities and hasattr(self.processor, "video_processor")

    def row(self, document: Document) -> MediaRow:
        """Decode the media of a document and make its inputs.

        Raises:
            InputError: if a file cannot be decoded or the processor refuses the document.
        """
        self.check(document)
        media = {part.path: self._open(part) for part in document.media if part.path is not None}
        if getattr(self.processor, "tokenizer", None) is None:
            return MediaRow(document.id, self._pixels(document, media), document.group, None)
        inputs = self._encode(
            document, document.messages, media, self.generating and document.messages[-1].role != "assistant"
        )
        groups = self._roles(document, media, inputs) if self.by_role else None
        return MediaRow(document.id, inputs, document.group, groups)

    def _open(self, part: Part) -> Any:
        path = part.path or Path()
        if part.kind == "image":
            return open_image(path)
        if part.kind == "video":
            return open_clip(path)
        return open_sound(path, self._rate())

    def _rate(self) -> int:
        return int(getattr(getattr(self.processor, "feature_extractor", None), "sampling_rate", DEFAULT_RATE))

    def _pixels(self, document: Document, media: dict[Path, Any]) -> dict[str, Any]:
        """Inputs of a model that takes a picture and no text; a box that it may want is the whole picture."""
        pictures = [media[part.path] for part in document.media if part.path is not None]
        arguments: dict[str, Any] = {"images": pictures, "return_tensors": "pt"}
        if "boxes" in inspect.signature(self.processor.preprocess).parameters:
            arguments["boxes"] = [[[0.0, 0.0, float(picture.width), float(picture.height)]] for picture in pictures]
        return self._call(document, arguments)

    def _encode(self, document: Document, messages: Any, media: dict[Path, Any], open_end: bool) -> dict[str, Any]:
        text = self._text(document, messages, open_end)
        arguments: dict[str, Any] = {"text": [text], "return_tensors": "pt"}
        for part in (part for message in messages for part in message.parts if part.path is not None):
            arguments.setdefault(_ARGUMENT[part.kind], []).append(media[part.path])
        if "audio" in arguments:
            arguments["sampling_rate"] = self._rate()
        bos = getattr(self.processor.tokenizer, "bos_token", None)
        if bos and text.startswith(bos):
            arguments["add_special_tokens"] = False
        return self._call(document, arguments)

    def _call(self, document: Document, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(self.processor(**arguments))
        except WorkbenchError:
            raise
        except Exception as fault:  # every processor has its own ways to refuse
            raise InputError(
                f"The model's processor refuses '{document.id}' ({type(fault).__name__}: {reason(fault)}): leave it out."
            ) from fault

    def _text(self, document: Document, messages: Any, open_end: bool) -> str:
        """The chat as text with a placeholder for each picture, sound and clip."""
        if getattr(self.processor, "chat_template", None):
            try:
                return str(
                    self.processor.apply_chat_template(
                        as_conversation(messages, None), tokenize=False, add_generation_prompt=open_end
                    )
                )
            except Exception as fault:  # a template is a program of its own and raises what it likes
                raise InputError(
                    f"The model's chat template refuses '{document.id}' ({reason(fault)}): change its roles or their order."
                ) from fault
        if len(messages) != 1:
            raise InputError(
                f"'{document.id}' is a chat, but the model's processor has no chat template: use a model trained for chats."
            )
        pieces = []
        for part in messages[0].parts:
            pieces.append(
                part.text
                if part.kind == "text"
                else str(getattr(self.processor, f"{part.kind}_token", f"<{part.kind}>"))
            )
        return " ".join(pieces)

    def _roles(self, document: Document, media: dict[Path, Any], inputs: dict[str, Any]) -> tuple[str, ...]:
        """The role of every token, from how many tokens the chat has up to each message.

        Raises:
            InputError: if the chat's beginning reads otherwise when more messages follow.
        """
        whole = inputs["input_ids"][0].tolist()
        groups: list[str] = []
        for number, message in enumerate(document.messages, start=1):
            head = self._encode(document, document.messages[:number], media, False)["input_ids"][0].tolist()
            shared = next(
                (place for place, (one, other) in enumerate(zip(head, whole, strict=False)) if one != other),
                min(len(head), len(whole)),
            )
            if shared <= len(groups):
                raise InputError(
                    f"The model's chat template reads message {number} of '{document.id}' otherwise when others follow, so its tokens have no "
                    "role: use another --group-by."
                )
            groups += [message.role] * (shared - len(groups))
        return tuple(groups + [TEMPLATE_GROUP] * (len(whole) - len(groups)))
