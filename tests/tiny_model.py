"""A tiny random Mixtral with a tokenizer of its own, saved as a model folder."""

from __future__ import annotations

from pathlib import Path

EXPERTS, TOP_K, LAYERS = 4, 2, 2
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "dog",
    "ran",
    "fast",
    "user",
    "assistant",
    "hello",
    "there",
    "how",
    "are",
    "you",
    "fine",
    "thanks",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} . {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def save_tokenizer(folder: Path, *, chat: bool = True, pad: bool = False) -> None:
    """A word tokenizer with a start token; without a pad token unless asked for."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", ":", ".", ",", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>" if pad else None
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)


def save_model(folder: Path, *, chat: bool = True, tie: bool = False) -> Path:
    """Write model and tokenizer; the same weights every time."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=32, hidden_size=32, intermediate_size=16, num_hidden_layers=LAYERS, num_attention_heads=2, num_key_value_heads=1,
        num_local_experts=EXPERTS, num_experts_per_tok=TOP_K, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=tie,
    )  # fmt: skip
    model = MixtralForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("gate.weight"):
                weight.normal_(std=1.0)  # the default is so small that all experts would tie
    model.save_pretrained(folder)
    save_tokenizer(folder, chat=chat)
    return folder
