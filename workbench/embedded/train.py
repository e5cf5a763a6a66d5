"""The training loop: equal shares of every kind, AdamW, metrics as JSON lines, checkpoints to go on from.

A run's folder: ``metrics.jsonl``, ``state/`` (to resume), ``model/`` (the last exported model in bf16, with its tokenizer:
usable while the run goes on, final at its end).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from workbench.embedded.checkpoint import Progress, load_state, read_progress, save_state
from workbench.embedded.corpus import Corpus, EmbeddedError
from workbench.embedded.packing import Stream, batch
from workbench.embedded.recipe import Recipe, balance_loss, build_model, learning_rate
from workbench.embedded.tokens import train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3MoeForCausalLM

METRICS = "metrics.jsonl"
MODEL = "model"


@dataclass(frozen=True)
class Plan:
    """How far a call of :func:`train` goes; it decides nothing about the result but the number of steps."""

    steps: int | None = None  # steps in all
    minutes: float | None = None  # instead of steps: as many as fit, measured at the start
    resume: bool = False  # go on from the state in the folder
    save_every: int = 250  # steps
    log_every: int = 10  # steps
    stop_after: int | None = (
        None  # leave after this many steps in all, as a kill would (the schedule still aims at ``steps``)
    )


def train(corpus: Corpus, out: Path, recipe: Recipe, plan: Plan, progress: bool = False) -> Path:
    """Train, or go on training, until the planned number of steps.

    Args:
        corpus: documents; only training ones are used.
        out: folder of the run.
        recipe: model and optimisation.
        plan: length, resume and intervals.
        progress: draw a bar.

    Returns:
        The folder of the exported model.

    Raises:
        EmbeddedError: the folder holds another run, or the recipe or data of the run to resume differ.
    """
    import torch

    done = _resumable(corpus, out, recipe, plan)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(corpus, out, recipe, done is not None)
    boundary, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    if len(tokenizer) > recipe.vocabulary:
        raise EmbeddedError(
            f"Expected {recipe.vocabulary} tokens, but the tokenizer has {len(tokenizer)}: raise the vocabulary."
        )
    model = build_model(recipe, boundary, pad)
    model.train()
    optimizer = _optimizer(model, recipe)
    streams = [
        Stream(
            encode_all(tokenizer, [d.text for d in corpus.train(kind)]), boundary, recipe.context, (recipe.seed, number)
        )
        for number, kind in enumerate(recipe.kinds)
    ]
    if done is None:
        steps = plan.steps if plan.steps is not None else _fit(recipe, streams, boundary, pad, plan.minutes or 60.0)
        done = Progress(recipe, 0, steps, 0.0, corpus.fingerprint())
    else:
        load_state(out, model, optimizer, done.step)
        steps = plan.steps if plan.steps is not None else done.steps
    _keep_metrics(out / METRICS, done.step)
    last = min(steps, plan.stop_after) if plan.stop_after is not None else steps
    seconds = done.seconds
    with (
        (out / METRICS).open("a", encoding="utf-8") as file,
        tqdm(total=steps, initial=done.step, disable=not progress) as bar,
    ):
        for step in range(done.step, last):
            start = time.perf_counter()
            rate = learning_rate(recipe, step, steps)
            record = train_step(
                model, optimizer, recipe, torch.from_numpy(batch(streams, step, recipe.rows)).long(), rate
            )
            seconds += time.perf_counter() - start
            bar.update(1)
            if step % plan.log_every == 0 or step + 1 == steps:
                tokens = (step + 1) * recipe.rows * len(recipe.kinds) * recipe.context
                row = {
                    "step": step + 1,
                    "tokens": tokens,
                    "seconds": round(seconds, 2),
                    "learning_rate": rate,
                    **record,
                }
                file.write(json.dumps(row) + "\n")
                file.flush()
                bar.set_postfix(loss=f"{record['loss']:.3f}")
            if (step + 1) % plan.save_every == 0 or step + 1 == last:
                save_state(out, Progress(recipe, step + 1, steps, seconds, done.fingerprint), model, optimizer)
                export(model, tokenizer, out / MODEL)
    return out / MODEL


def train_step(
    model: Qwen3MoeForCausalLM, optimizer: torch.optim.Optimizer, recipe: Recipe, ids: torch.Tensor, rate: float
) -> dict[str, Any]:
    """One step of AdamW.

    Args:
        model: in training mode.
        optimizer: over its parameters.
        recipe: balance weight and clipping.
        ids: int64 [kinds x rows, T], kinds in order.
        rate: learning rate of the step.

    Returns:
        Mean loss and loss by kind (nats a token), balance loss (K when even), largest MaxVio of a layer.
    """
    import torch
    from torch.nn import functional

    for group in optimizer.param_groups:
        group["lr"] = rate
    result = model(input_ids=ids, output_router_logits=True, use_cache=False)
    logits = result.logits[:, :-1].float()
    by_token = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    by_kind = by_token.view(len(recipe.kinds), -1).mean(1)
    loss = by_kind.mean()
    balance = balance_loss(result.router_logits, recipe.experts, recipe.top_k)
    (loss + recipe.balance * balance).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        violation = max(
            float(torch.bincount(layer.topk(recipe.top_k, -1).indices.flatten(), minlength=recipe.experts).max())
            * recipe.experts
            / (layer.shape[0] * recipe.top_k)
            - 1
            for layer in result.router_logits
        )
    return {
        "loss": loss.item(),
        "balance": balance.item(),
        "gradient_norm": float(norm),
        "max_violation": violation,
        **{f"loss_{kind}": value for kind, value in zip(recipe.kinds, by_kind.tolist(), strict=True)},
    }


def export(model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model (bf16 safetensors), generation settings and tokenizer as plain transformers files.

    Args:
        model: the trained model; it keeps its own precision.
        tokenizer: its tokenizer.
        folder: where to; files of an earlier export are replaced.
    """
    from transformers import GenerationConfig, Qwen3MoeForCausalLM

    copy = Qwen3MoeForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        max_new_tokens=128,
    )
    copy.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encode_all(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[np.ndarray]:
    """Token ids of every text, without special tokens, int32."""
    encoded = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [np.array(item.ids, dtype=np.int32) for item in encoded]


def _resumable(corpus: Corpus, out: Path, recipe: Recipe, plan: Plan) -> Progress | None:
    done = read_progress(out)
    if done is None:
        if plan.resume:
            raise EmbeddedError(
                f"Expected the state of a run to resume, but {out} holds none: leave --resume out to start one."
            )
        return None
    if not plan.resume:
        raise EmbeddedError(
            f"Expected a new folder, but {out} holds a run at step {done.step}: add --resume, or name another --out."
        )
    if done.recipe != recipe:
        differ = [name for name, value in recipe.to_json().items() if done.recipe.to_json()[name] != value]
        raise EmbeddedError(
            f"Expected the recipe of the run in {out}, but these differ: {', '.join(differ)}; give the same options."
        )
    if done.fingerprint != corpus.fingerprint():
        raise EmbeddedError(
            f"Expected the documents of the run in {out}, but the data root has other ones: restore it, or start anew."
        )
    return done


def _tokenizer(corpus: Corpus, out: Path, recipe: Recipe, resumed: bool) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    if resumed:
        return PreTrainedTokenizerFast.from_pretrained(out / MODEL)
    return train_tokenizer(corpus, recipe.vocabulary, recipe.context)


def _optimizer(model: Qwen3MoeForCausalLM, recipe: Recipe) -> torch.optim.Optimizer:
    import torch

    decayed = [p for n, p in model.named_parameters() if p.ndim > 1 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim <= 1 or "embed" in n]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), foreach=True)


def _fit(recipe: Recipe, streams: list[Stream], boundary: int, pad: int, minutes: float) -> int:
    """How many steps fit into the time, from six steps of a throw-away model (the first one is not counted)."""
    import torch

    model = build_model(recipe, boundary, pad)
    model.train()
    optimizer = _optimizer(model, recipe)
    seconds = []
    for step in range(6):
        start = time.perf_counter()
        train_step(model, optimizer, recipe, torch.from_numpy(batch(streams, step, recipe.rows)).long(), 1e-4)
        seconds.append(time.perf_counter() - start)
    return max(1, int(minutes * 60 / float(np.mean(seconds[1:]))))


def _keep_metrics(path: Path, step: int) -> None:
    """Drop lines of steps after the state (a killed run wrote them), so that the file reads like an uninterrupted run's."""
    if path.exists():
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError):
                continue  # a line cut by the kill
        path.write_text("".join(kept), encoding="utf-8")
