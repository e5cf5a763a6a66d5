"""A tiny random Qwen3-MoE as a GGUF file, written with the format's own library from the tensors of a transformers model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EXPERTS, TOP_K, LAYERS = 4, 2, 2
# transformers reads no expert width from a GGUF file: the class's default stands.
EXPERT_WIDTH = 768


def make_model() -> Any:
    """The model that `save_gguf` writes; the same weights every time."""
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=260, hidden_size=32, intermediate_size=48, moe_intermediate_size=EXPERT_WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_experts=EXPERTS, num_experts_per_tok=TOP_K,
        max_position_embeddings=64, norm_topk_prob=True, tie_word_embeddings=False, rope_theta=10_000.0,
    )  # fmt: skip
    model = Qwen3MoeForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                weight.normal_(std=1.0)  # the default is so small that all experts would tie
    return model


def save_gguf(file: Path) -> Path:
    """Write the model with a byte tokenizer."""
    import gguf

    model = make_model()
    config = model.config
    writer = gguf.GGUFWriter(str(file), "qwen3moe")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(TOP_K)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, config.vocab_size)
    for name, values in _tensors(model.state_dict()).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any, size: int) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*sorted(ByteLevel.alphabet()), "Ġt"]  # a tokenizer without any merge is read as one of another kind
    tokens += [f"<extra_{number}>" for number in range(size - len(tokens) - 1)] + ["<end>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["Ġ t"])
    writer.add_eos_token_id(size - 1)
    writer.add_pad_token_id(size - 1)
    writer.add_bos_token_id(size - 1)


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Names of the format for names of transformers (llama.cpp's tensor names for qwen3moe)."""
    places = {
        "input_layernorm.weight": "attn_norm.weight",
        "post_attention_layernorm.weight": "ffn_norm.weight",
        "self_attn.q_proj.weight": "attn_q.weight",
        "self_attn.k_proj.weight": "attn_k.weight",
        "self_attn.v_proj.weight": "attn_v.weight",
        "self_attn.o_proj.weight": "attn_output.weight",
        "self_attn.q_norm.weight": "attn_q_norm.weight",
        "self_attn.k_norm.weight": "attn_k_norm.weight",
        "mlp.gate.weight": "ffn_gate_inp.weight",
        "mlp.experts.down_proj": "ffn_down_exps.weight",
    }
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
        "output.weight": state["lm_head.weight"],
    }
    for layer in range(LAYERS):
        for old, new in places.items():
            found[f"blk.{layer}.{new}"] = state[f"model.layers.{layer}.{old}"]
        gate_up = state[f"model.layers.{layer}.mlp.experts.gate_up_proj"]  # [E, 2 F, D]
        found[f"blk.{layer}.ffn_gate_exps.weight"] = gate_up[:, :EXPERT_WIDTH].contiguous()
        found[f"blk.{layer}.ffn_up_exps.weight"] = gate_up[:, EXPERT_WIDTH:].contiguous()
    return {name: values.float().numpy() for name, values in found.items()}
