"""What a text model is asked: types and demonstrations as a chat, or as prose where the model has no chat template.

Spans are answered as MetaNER's are, "SPAN is TYPE.", so that both are read by the same rules. The prose is that of the paper for models without
its tokens (arXiv 2305.11038; config/formats/gpt.yaml): "Target entity types: a, b." and then "Text: … Entities: …" for each demonstration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.records import Document
from workbench.extract.schema import Label

NOTHING = "None."  # what a demonstration without a span answers
TASK = (
    "Find the entities in the text that the user gives. Target entity types: {types}. "
    "Write one sentence for each entity, in the order of the text: SPAN is TYPE. "
    "Copy SPAN from the text letter by letter. Write nothing else; write None. where the text holds no entity of these types."
)


def instruction(labels: Sequence[Label]) -> str:
    """The task, with every type and its description."""
    return TASK.format(
        types="; ".join(f"{each.name} ({each.description})" if each.description else each.name for each in labels)
    )


def answer(shot: Document, types: Sequence[str]) -> str:
    """What should be written about an example: each string under each type once, in text order."""
    spans = sorted((s for s in shot.entities or () if s.type in types), key=lambda s: (s.start, s.end))
    said = dict.fromkeys(f"{shot.text[s.start : s.end]} is {s.type}." for s in spans)
    return " ".join(said) or NOTHING


def messages(
    labels: Sequence[Label], shots: Sequence[Document], text: str, system: bool = True
) -> list[dict[str, str]]:
    """A chat: the task, each demonstration as a turn of both, the text.

    Args:
        system: whether the task has a turn of its own; else it stands before the first text, for templates that know no system.
    """
    types = [label.name for label in labels]
    task = instruction(labels)
    turns: list[dict[str, str]] = [{"role": "system", "content": task}] if system else []
    for shot in shots:
        turns += [{"role": "user", "content": shot.text}, {"role": "assistant", "content": answer(shot, types)}]
    turns.append({"role": "user", "content": text})
    if not system:
        turns[0] = {"role": "user", "content": f"{task}\n\n{turns[0]['content']}"}
    return turns


def prose(labels: Sequence[Label], shots: Sequence[Document], text: str) -> str:
    """The same as a text to be gone on with."""
    types = [label.name for label in labels]
    parts = [f"Target entity types: {', '.join(types)}.\n"]
    parts += [f"Text: {shot.text}\nEntities: {answer(shot, types)}\n" for shot in shots]
    return "".join([*parts, f"Text: {text}\nEntities:"])


class Prompts:
    """Writes prompts for one model.

    Args:
        tokenizer: of the model; its chat template decides the form.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self._system = True

    def ids(self, labels: Sequence[Label], shots: Sequence[Document], text: str) -> list[int]:
        """Token numbers of a prompt."""
        if not self.chat:
            found: list[int] = self._tokenizer(prose(labels, shots, text))["input_ids"]
            return found
        if self._system:
            try:
                return self._render(messages(labels, shots, text))
            except Exception:  # templates raise what they like, for instance where a system turn is not known
                self._system = False
        try:
            return self._render(messages(labels, shots, text, system=False))
        except Exception as fault:
            raise EngineError(
                f"The model's chat template cannot write a chat of user and assistant ({reason(fault)}): choose an instruction-tuned model, or remove its template to have it asked in prose."
            ) from None

    def _render(self, turns: list[dict[str, str]]) -> list[int]:
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found
