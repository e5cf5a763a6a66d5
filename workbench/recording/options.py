"""How documents are run and what of them is kept, and what a model allows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.capture.errors import WorkbenchError
from workbench.inputs import InputOptions

if TYPE_CHECKING:
    from workbench.models import LoadedModel

DEFAULT_MAX_LENGTH = 2048
MIN_LENGTH = 4
# Optional columns of the token rows, and the fields of `RecordOptions` that ask for them.
STREAMS = {"scores": "scores", "predicted": "predictions", "loss": "loss"}
_HUGE = 10**9  # tokenizers say "no limit" with numbers far above this


class RecordingError(WorkbenchError):
    """Documents could not be run through the model."""


@dataclass(frozen=True)
class RecordOptions:
    """How documents are run and what of them is kept.

    Attributes:
        group_by: as in `InputOptions`; the documents carry their groups already, except for chat roles.
        batch_size: rows of a forward pass.
        max_length: tokens of a row; longer texts are cut into windows. None: what the model takes, at most 2,048.
        generate: new tokens at the end of each document, greedy; all but the last are fed back and recorded as decode steps.
        tokens: keep a row a token.
        scores: keep the router's score of every expert in the token rows.
        predictions: keep the id that the model finds likeliest after each token.
        loss: keep the cross-entropy in nats of the token that follows each token.
        coactivation: count pairs of experts chosen together.
        max_tokens: bound on token rows kept.
        untrained: run the model's configuration with weights drawn anew by `seed`: the null of untrained weights.
        seed: of the sample of token rows, and of anything random in the model.
        notes, licence: words for the capture.
    """

    group_by: str = "modality"
    batch_size: int = 8
    max_length: int | None = None
    generate: int = 0
    tokens: bool = True
    scores: bool = False
    predictions: bool = False
    loss: bool = False
    coactivation: bool = True
    untrained: bool = False
    max_tokens: int = 200_000
    seed: int = 0
    notes: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        InputOptions(group_by=self.group_by)
        for name, value, least in (
            ("--batch-size", self.batch_size, 1),
            ("--max-tokens", self.max_tokens, 1),
            ("--generate", self.generate, 0),
            ("--max-length", MIN_LENGTH if self.max_length is None else self.max_length, MIN_LENGTH),
        ):
            if value < least:
                raise RecordingError(f"{name} must be at least {least}, but is {value}.")
        if not self.tokens and (self.predictions or self.loss):
            raise RecordingError(
                "Predicted tokens and losses stand in the token rows, and --no-tokens keeps none: leave one of the two out."
            )


def wanted_streams(wish: str) -> dict[str, Any]:
    """Fields of `RecordOptions` for the optional columns named in `wish`, such as "scores,loss".

    Raises:
        RecordingError: for a name that is none.
    """
    names = [name for part in wish.split(",") if (name := part.strip())]
    for name in names:
        if name not in STREAMS:
            raise RecordingError(f"--streams takes {', '.join(STREAMS)}, separated by commas, but got '{name}'.")
    return {STREAMS[name]: True for name in names}


def row_length(loaded: LoadedModel, options: RecordOptions) -> int:
    """Tokens of a row: what was asked for, or what the model takes, at most 2,048.

    Raises:
        RecordingError: if more was asked for than the model has positions.
    """
    config = loaded.model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text, "max_position_embeddings", None)
    positions = int(positions) if isinstance(positions, int) and positions > 0 else None
    told = getattr(loaded.tokenizer, "model_max_length", None)
    if options.max_length is None:
        limits = [DEFAULT_MAX_LENGTH]
        limits += [positions - options.generate] if positions is not None else []
        limits += [int(told)] if isinstance(told, int) and told < _HUGE else []
        if min(limits) < MIN_LENGTH:
            raise RecordingError(
                f"--generate {options.generate} leaves no room in the model's {positions} positions: ask for fewer tokens."
            )
        return min(limits)
    if positions is not None and options.max_length + options.generate > positions:
        raise RecordingError(
            f"--max-length {options.max_length} and --generate {options.generate} make {options.max_length + options.generate} tokens, but "
            f"'{loaded.info.id}' has {positions} positions: choose a smaller --max-length."
        )
    return options.max_length


def pad_id(loaded: LoadedModel) -> int:
    """An id to pad with; masked, so any one does where the tokenizer has none of its own."""
    sources = (loaded.tokenizer, loaded.model.config)
    for name in ("pad_token_id", "eos_token_id"):
        for source in sources:
            value = getattr(source, name, None)
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, int) and value >= 0:
                return value
    return 0
