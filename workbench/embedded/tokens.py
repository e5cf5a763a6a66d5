"""The tokenizer: byte-level BPE, digits one by one, trained on an equal share of every kind.

Byte level, so that no input is unknown. Digits one by one, so that a table costs no vocabulary and its tokens stay comparable.
The chat template writes a chat in the form of a play (``Name:``, a line, an empty line), which is the form of dialogue
that the model has seen: no special token is left untrained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from workbench.embedded.corpus import Corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOUNDARY = "<|endoftext|>"
"""Stands before every document, in training and in use: begin and end of text in one."""
PAD = "<|pad|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['content'] is string %}{% set text = message['content'] %}{% else %}"
    "{% set text = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') %}{% endif %}"
    "{{ message['role'] | capitalize }}:\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ text | trim }}\n\n{% endgeneration %}"
    "{% else %}{{ text | trim }}\n\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
SHARE = 1_000_000
"""Characters of each kind that the tokenizer learns from; a smaller kind is repeated, so that every kind has its share."""


def train_tokenizer(corpus: Corpus, vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Learn the merges on training documents only.

    Args:
        corpus: the texts.
        vocabulary: number of tokens, the two special ones and the 256 bytes included.
        context: longest input of the model, in tokens.

    Returns:
        A tokenizer that puts the boundary token before every text, knows the chat form, and loads with AutoTokenizer.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOUNDARY, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_equal_shares(corpus), trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{BOUNDARY} $A",
                pair=f"{BOUNDARY} $A {BOUNDARY} $B",
                special_tokens=[(BOUNDARY, tokenizer.token_to_id(BOUNDARY))],
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOUNDARY,
        eos_token=BOUNDARY,
        pad_token=PAD,
        padding_side="right",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _equal_shares(corpus: Corpus) -> Iterator[str]:
    largest = max(sum(len(d.text) for d in corpus.train(kind)) for kind in corpus.kinds)
    share = min(SHARE, largest)
    for kind in corpus.kinds:
        documents, size = corpus.train(kind), 0
        documents.sort(key=lambda d: d.digest)  # spread over the sources
        while size < share:
            for document in documents:
                yield document.text
                size += len(document.text)
                if size >= share:
                    break
