"""The training loop: one step of every task, AdamW, balancing, elastic passes, a log that the dashboard follows.

A run's folder: `run.json`, `metrics.jsonl` and `captures/` (docs/training_log.md), `state/` to resume, `model/` the last exported
checkpoint. Under ``torchrun`` every process draws its own samples, and the first one writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from workbench.training.processes import Place, process_group
from workbench.training.writer import RunWriter
from workbench.unified.balance import update_bias
from workbench.unified.batch import Noise, make_batch, to_device
from workbench.unified.checkpoint import export, load_checkpoint
from workbench.unified.config import UnifiedConfig
from workbench.unified.losses import TaskBalance, task_means
from workbench.unified.model import UnifiedForCausalLM
from workbench.unified.segments import TASKS, UnifiedError
from workbench.unified.train.elastic import draw_reduction
from workbench.unified.train.order import TrainingData, generator, samples_of_step
from workbench.unified.train.recipe import Phase, Recipe, learning_rate
from workbench.unified.train.state import Progress, load_state, read_progress, save_state

if TYPE_CHECKING:
    from workbench.unified.experts import Reduction
    from workbench.unified.tokenizers.bundle import Tokenizers

MODEL = "model"


@dataclass(frozen=True)
class Plan:
    """How far a call of :func:`train` goes and how often it writes; only `steps` shapes the result (through the learning rate)."""

    steps: int = 2000
    resume: bool = False
    save_minutes: float = 4.0  # time between states on disk
    save_every: int | None = None  # steps between states, in place of minutes
    capture_every: int = 0  # steps between captures of the evaluation batch, 0 for none
    stop_after: int | None = None  # leave after this many steps in all, as a kill would
    device: str = "auto"
    start: Path | None = None  # checkpoint whose weights a new run begins with; `Recipe.start` is its digest


def train(
    data: TrainingData, tokenizers: Tokenizers, out: Path, recipe: Recipe, plan: Plan, progress: bool = False
) -> Path:
    """Train, or go on training.

    Args:
        data: draws training samples; only its `held_out`, where it has one, is used for the log's captures.
        tokenizers: encode the pictures, and are exported with the model.
        out: folder of the run.
        recipe: what decides the result.
        plan: length and intervals.
        progress: draw a bar.

    Returns:
        Folder of the exported checkpoint.

    Raises:
        UnifiedError: the folder holds another run, or recipe or data of the run to resume differ.
    """
    with process_group(plan.device) as place:
        return _train(data, tokenizers, out, recipe, plan, place, progress and place.first)


def _train(
    data: TrainingData,
    tokenizers: Tokenizers,
    out: Path,
    recipe: Recipe,
    plan: Plan,
    place: Place,
    progress: bool,
) -> Path:
    done = resumable(data, out, recipe, plan)
    model = new_model(recipe, tokenizers).train()
    if done is None and plan.start is not None:
        begin_with(model, plan.start, tokenizers)
    model.to(torch.device(place.device))
    optimizer = new_optimizer(model, recipe)
    balance = TaskBalance(recipe.loss_decay)
    if done is not None:
        load_state(out, model, optimizer, balance)
    step, tokens, seconds = (done.step, done.tokens, done.seconds) if done else (0, 0, 0.0)
    last = plan.steps if plan.stop_after is None else min(plan.steps, plan.stop_after)
    outer: nn.Module = model
    if place.world > 1:
        outer = synchronised(model)
    writer = _writer(out, model, recipe, plan, data, step if done else None) if place.first else None
    saved = time.monotonic()
    try:
        with tqdm(total=plan.steps, initial=step, disable=not progress, mininterval=5) as bar:
            while step < last:
                start = time.perf_counter()
                values = train_step(outer, model, optimizer, balance, data, tokenizers, recipe, plan, step, place)
                spent = time.perf_counter() - start
                seconds += spent
                tokens += int(values["batch_tokens"])
                step += 1
                bar.update(1)
                if writer is not None:
                    writer.metrics(
                        step, {**values, "tokens": tokens, "tokens_per_second": values["batch_tokens"] / spent}
                    )
                due = (
                    step % plan.save_every == 0
                    if plan.save_every
                    else time.monotonic() - saved > plan.save_minutes * 60
                )
                if place.first and (due or step == last):
                    state = Progress(recipe, step, plan.steps, tokens, seconds, data.fingerprint())
                    save_state(out, state, model, optimizer, balance)
                    words = getattr(data, "words", None)  # of what prompts may say, where the data knows
                    export(model, tokenizers, out / MODEL, words=None if words is None else words())
                    saved = time.monotonic()
                if writer is not None and plan.capture_every and (step % plan.capture_every == 0 or step == plan.steps):
                    _capture(writer, step, model, tokenizers, data)
    except BaseException as fault:
        if writer is not None:
            writer.stop(f"The run ended at step {step} by {type(fault).__name__}.", step)
        raise
    if writer is not None:
        if step >= plan.steps:
            writer.finish(step)
        else:
            writer.stop("The run was told to stop before its end.", step)
    return out / MODEL


def train_step(
    outer: nn.Module,
    model: UnifiedForCausalLM,
    optimizer: torch.optim.Optimizer,
    balance: TaskBalance,
    data: TrainingData,
    tokenizers: Tokenizers,
    recipe: Recipe,
    plan: Plan,
    step: int,
    place: Place,
) -> dict[str, float]:
    """One optimiser step.

    Args:
        outer: the model, or what synchronises it with other processes.
        model, optimizer, balance: changed in place.
        data, tokenizers, recipe, plan: of the run.
        step: from 0.
        place: of this process.

    Returns:
        Metrics by name; `batch_tokens` counts all processes.
    """
    rate = learning_rate(recipe, step, plan.steps)
    phase = recipe.phase(step, plan.steps)
    balance.shares = task_shares(phase)
    for group in optimizer.param_groups:
        group["lr"] = rate
    samples = samples_of_step(data, recipe, phase, step, place.rank, place.world)
    noise = Noise(recipe.flip, recipe.hide_frame, generator(recipe, step, place.rank))
    batch = to_device(make_batch(samples, model.config, tokenizers, width=recipe.width, noise=noise), place.device)
    reduction = draw_reduction(recipe, model.config, step)
    kind = place.device.split(":")[0]
    with torch.autocast(kind, torch.bfloat16) if recipe.bf16 else contextlib.nullcontext():
        losses = outer(**batch, use_cache=False, reduction=on_device(reduction, place.device)).losses
    means, weights = task_means(losses, batch["task"])
    shared, summed = _over_processes(means.detach() * weights, weights, place)
    mean_of_all = shared / summed.clamp_min(1e-9)
    # The averages follow what all processes saw, so that every process divides by the same numbers.
    local = balance.combine(means + (mean_of_all - means).detach(), summed > 0)
    later = losses.ahead.sum() / losses.has_ahead.sum().clamp_min(1)
    loss = local
    if bool(losses.has_ahead.any()):
        weight = recipe.ahead_weight if step < plan.steps / 2 else recipe.ahead_weight / 3
        text = balance.average[TASKS.index("text")].clamp_min(1.0) if phase.samples.get("text") else 1.0
        loss = loss + weight * later / text / len(TASKS)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    violation = update_bias(model, recipe.bias_speed)
    present = [number for number in range(len(TASKS)) if float(summed[number]) > 0]
    values = {
        "loss": float(mean_of_all[present].mean()),
        **{f"loss/{TASKS[number]}": float(mean_of_all[number]) for number in present},
        "loss/mtp": float(later.detach()),
        "lr": rate,
        "grad_norm": float(norm),
        "batch_tokens": float(batch["attention_mask"].sum()) * place.world,
        "reduced": float(reduction is not None),
    }
    if violation is not None:
        values["max_violation"] = violation
    return values


def synchronised(model: nn.Module) -> nn.Module:
    """The model with gradients averaged over processes; elastic steps leave parameters out, and biases are equal by themselves."""
    ddp: Any = nn.parallel.DistributedDataParallel
    # The option was renamed in torch 2.13, which warns of the old name.
    names = inspect.signature(ddp.__init__).parameters
    still = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    found: nn.Module = ddp(model, find_unused_parameters=True, **{still: False})
    return found


def _over_processes(total: Tensor, weight: Tensor, place: Place) -> tuple[Tensor, Tensor]:
    """Sums over all processes."""
    if place.world == 1:
        return total, weight
    both = torch.stack([total, weight])
    torch.distributed.all_reduce(both)
    return both[0], both[1]


def task_shares(phase: Phase) -> Tensor:
    """How much each task pulls, float [tasks]."""
    return torch.tensor([phase.shares.get(task, 1.0) for task in TASKS])


def on_device(reduction: Reduction | None, device: str) -> Reduction | None:
    if reduction is not None and reduction.experts is not None:
        reduction.experts = {layer: present.to(device) for layer, present in reduction.experts.items()}
    return reduction


def new_model(recipe: Recipe, tokenizers: Tokenizers) -> UnifiedForCausalLM:
    """The untrained model of a recipe; equal seeds give equal weights."""
    torch.manual_seed(recipe.seed)
    return UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **recipe.model}))


def begin_with(model: UnifiedForCausalLM, folder: Path, tokenizers: Tokenizers) -> None:
    """Give a new model the weights and balancing biases of a checkpoint of the same sizes and tokenizers.

    A path from the previous frame that the checkpoint lacks (`previous_frame`) begins at zero, so that the model first says what it said there.

    Raises:
        UnifiedError: no checkpoint, or one of other sizes or tokenizers.
    """
    trained, theirs = load_checkpoint(folder)
    if theirs.fingerprint() != tokenizers.fingerprint():
        raise UnifiedError(f"Expected the tokenizers of '{folder}', but others came: give its folder tokenizers/.")
    weights = trained.state_dict()
    if model.before_in is not None and trained.before_in is None:
        weights["before_in.weight"] = torch.zeros_like(model.before_in.weight)
    try:
        model.load_state_dict(weights)
    except RuntimeError as fault:
        raise UnifiedError(
            f"Expected a model of the sizes of '{folder}' to begin with, but this one has others: give the same --model-config."
        ) from fault


def digest_of(folder: Path) -> str:
    """Sixteen hexadecimal digits of a checkpoint's weights.

    Raises:
        UnifiedError: there are none.
    """
    try:
        with (folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as fault:
        raise UnifiedError(f"Expected a checkpoint in '{folder}' to begin with, found none: check the path.") from fault


def new_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; vectors and embeddings do not decay."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embed" in name]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), foreach=True)


def resumable(data: TrainingData, out: Path, recipe: Recipe, plan: Plan) -> Progress | None:
    """The progress to go on from, None for a new run; a folder that fits neither is refused."""
    done = read_progress(out)
    if done is None:
        if plan.resume:
            raise UnifiedError(
                f"Expected the state of a run to resume in '{out}', found none: leave --resume out to start one."
            )
        return None
    if not plan.resume:
        raise UnifiedError(
            f"Expected a new folder, but '{out}' holds a run at step {done.step}: add --resume, or name another --out."
        )
    differ = done.recipe.differences(recipe)
    if differ:
        raise UnifiedError(
            f"Expected the recipe of the run in '{out}', but these differ: {', '.join(differ)}; give the same options."
        )
    if done.fingerprint != data.fingerprint():
        raise UnifiedError(
            f"Expected the data and tokenizers of the run in '{out}', but they have changed: restore them, or start anew."
        )
    return done


def _writer(
    out: Path, model: UnifiedForCausalLM, recipe: Recipe, plan: Plan, data: TrainingData, step: int | None
) -> RunWriter:
    facts: dict[str, Any] = {
        "id": out.name,
        "family": model.config.model_type,
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "config": {
            key: value
            for key, value in model.config.to_dict().items()
            if isinstance(value, (int, float, str, list, bool))
        },
    }
    return RunWriter.open(
        out,
        model=facts,
        total_steps=plan.steps,
        training={"recipe": recipe.to_json(), "data": data.fingerprint()},
        resume_from=step,
    )


def _capture(
    writer: RunWriter, step: int, model: UnifiedForCausalLM, tokenizers: Tokenizers, data: TrainingData
) -> None:
    """Routing on the fixed held-out samples, where the data has some."""
    from workbench.unified.train.watch import capture_held_out

    made = capture_held_out(model, tokenizers, data)
    if made is not None:
        writer.capture(step, made)
