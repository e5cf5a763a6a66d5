"""The text tokenizer: byte-level BPE from scratch, the sixteen special tokens first, digits one by one.

Byte level, so that no input is unknown. It learns from the stories and from every caption that the data can word, so that the
names of classes are single tokens or nearly so.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from workbench.unified.segments import SPECIALS, UnifiedError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FILE = "tokenizer.json"


class TextTokenizer:
    """Text to ids and back.

    Args:
        backend: a tokenizer whose first ids are the special tokens of the unified model.

    Raises:
        UnifiedError: its first ids are others.
    """

    def __init__(self, backend: Tokenizer) -> None:
        wrong = [name for number, name in enumerate(SPECIALS) if backend.token_to_id(name) != number]
        if wrong:
            raise UnifiedError(
                f"Expected a tokenizer whose first ids are the special tokens, but {wrong[0]} is not among them: use one made by "
                "`workbench unified tokenizers`."
            )
        self.backend = backend

    @property
    def vocabulary(self) -> int:
        """Number of tokens, special ones included."""
        return int(self.backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no special token; the name of a special token in it is read as plain letters."""
        return list(self.encode_all([text])[0])

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """Ids of many texts."""
        # A user may write "<eos>": broken in two, it never becomes the special token.
        cleaned = [_unspecial(text) for text in texts]
        return [found.ids for found in self.backend.encode_batch(cleaned, add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; special tokens are left out."""
        return str(self.backend.decode([number for number in ids if number >= len(SPECIALS)]))

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(folder / FILE))

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """Read ``tokenizer.json``.

        Raises:
            UnifiedError: it is missing or broken.
        """
        path = folder / FILE
        if not path.is_file():
            raise UnifiedError(
                f"Expected the text tokenizer '{path}', but it is missing: the folder is no whole bundle of tokenizers."
            )
        try:
            return cls(Tokenizer.from_file(str(path)))
        except UnifiedError:
            raise
        except Exception as fault:  # the library raises plain Exception
            raise UnifiedError(
                f"Expected a tokenizer of the tokenizers library, but '{path}' cannot be read: make it again."
            ) from fault

    def for_transformers(self) -> PreTrainedTokenizerFast:
        """The same tokenizer as transformers knows it, which puts ``<bos>`` before every text."""
        from tokenizers import processors
        from transformers import PreTrainedTokenizerFast

        copy = Tokenizer.from_str(self.backend.to_str())
        copy.post_processor = processors.TemplateProcessing(
            single="<bos> $A",
            pair="<bos> $A <sep> $B",
            special_tokens=[(n, copy.token_to_id(n)) for n in ("<bos>", "<sep>")],
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=copy,
            bos_token="<bos>",
            eos_token="<eos>",
            pad_token="<pad>",
            sep_token="<sep>",
            clean_up_tokenization_spaces=False,
        )

    def save_pretrained(self, folder: Path) -> None:
        """Write the files that ``AutoTokenizer.from_pretrained`` reads."""
        self.for_transformers().save_pretrained(str(folder))


def train_text(texts: Iterable[str], vocabulary: int) -> TextTokenizer:
    """Learn the merges.

    Args:
        texts: training texts only.
        vocabulary: number of tokens, the special ones and 256 bytes included.

    Raises:
        UnifiedError: the vocabulary has no room for the bytes.
    """
    smallest = len(SPECIALS) + 256
    if vocabulary < smallest:
        raise UnifiedError(
            f"Expected a vocabulary of at least {smallest} (special tokens and bytes), but {vocabulary} came: raise it."
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return TextTokenizer(backend)


def _unspecial(text: str) -> str:
    for name in SPECIALS:
        if name in text:
            text = text.replace(name, f"{name[0]} {name[1:]}")
    return text
