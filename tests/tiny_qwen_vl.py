"""A tiny random Qwen3-VL-MoE as a model folder, with a processor of transformers' own for pictures and clips."""

from __future__ import annotations

import json
from pathlib import Path

from tests.probes.families.build import build
from tests.probes.families.multimodal import multimodal_families
from tests.probes.families.prompts import BEGIN, END, IMAGE, VIDEO

WORDS = ("Describe", "this", "picture", "clip", "the", "cat", "user", "assistant", ".", ":")
_MARKS = {"<|image_pad|>": IMAGE, "<|video_pad|>": VIDEO, "<|vision_start|>": BEGIN, "<|vision_end|>": END}
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %} . {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
_PATCHES = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}


def save_qwen_vl(folder: Path) -> Path:
    """Write model, tokenizer, and the processor's parts as the published checkpoints have them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    family = next(family for family in multimodal_families() if family.name == "qwen3_vl_moe")
    build(family).model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(("<unk>", "<s>", "</s>", *WORDS))} | _MARKS
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=list(_MARKS),
    )
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 1024}  # pixels in all, as Qwen's processors count them
    processor = {
        "processor_class": "Qwen3VLProcessor",
        "image_processor": {"image_processor_type": "Qwen2VLImageProcessor", "size": size, **_PATCHES},
        "video_processor": {"video_processor_type": "Qwen3VLVideoProcessor", "size": size, **_PATCHES},
    }
    (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder
