"""``python -m workbench.unified.captures``: ready captures of a unified model, trained and untrained, by the six groups of the report.

The samples are those that the training kept back, of every task, so that all groups are there: text, pictures and clips that are read and that
are made, and sound. Both captures read the very same samples; the untrained one is the null of the trained one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.capture import Capture
from workbench.module_command import report
from workbench.unified.segments import TASKS, Sample

if TYPE_CHECKING:
    from workbench.unified.model import UnifiedForCausalLM
    from workbench.unified.tokenizers.bundle import Tokenizers

EACH = 64
"""Samples of every task."""
ROWS = 16
"""Samples run at once."""
LICENCE = "texts: captions of the project, and stories of TinyStories (CDLA-Sharing-1.0)"


def record_samples(
    model: UnifiedForCausalLM,
    tokenizers: Tokenizers,
    samples: Sequence[Sample],
    *,
    name: str,
    tokens: bool = True,
    untrained_seed: int | None = None,
) -> Capture:
    """Which experts take which tokens of these samples.

    Args:
        model: in evaluation mode.
        tokenizers: of the model.
        samples: of any task; each is a document.
        name: of the model, for the manifest.
        tokens: keep token rows.
        untrained_seed: instead of the weights, ones drawn anew by this seed; the capture is flagged as a null.
    """
    import torch

    from probes import RoutingProbe
    from workbench.models.fresh import marked_untrained
    from workbench.unified.batch import make_batch, to_device

    run = model
    if untrained_seed is not None:
        torch.manual_seed(untrained_seed)
        run = type(model)(model.config).eval()
        torch.nn.Module.to(run, model.device)
    processor = tokenizers.text.for_transformers()
    numbered = [(f"{sample.task} {number}", sample) for number, sample in enumerate(samples)]
    with torch.no_grad(), RoutingProbe(run, tokens=tokens, processor=processor) as probe:
        for task in dict.fromkeys(sample.task for sample in samples):
            mine = [(document, sample) for document, sample in numbered if sample.task == task]
            for start in range(0, len(mine), ROWS):
                part = mine[start : start + ROWS]
                probe.label(documents=[document for document, _ in part])
                batch = make_batch([sample for _, sample in part], run.config, tokenizers)
                run(**to_device(batch, run.device), use_cache=False)
    notes = f"{len(samples)} samples of {len({s.task for s in samples})} tasks that training kept back"
    capture = probe.capture(model_id=name, licence=LICENCE, notes=notes)
    return capture if untrained_seed is None else marked_untrained(capture, untrained_seed)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.unified.captures", description=__doc__)
    made.add_argument("--checkpoint", type=Path, required=True, help="folder of a trained model")
    made.add_argument("--data-root", type=Path, required=True, help="folder with one folder a data set")
    made.add_argument("--cache", type=Path, help="folder with encoded sounds of the run (its cache/)")
    made.add_argument("--name", default="omni-mini", help="of the model (default %(default)s)")
    made.add_argument("--each", type=int, default=EACH, help="samples of every task (default %(default)s)")
    made.add_argument(
        "--seed", type=int, default=0, help="of the samples and the untrained weights (default %(default)s)"
    )
    made.add_argument("--out", type=Path, required=True, help="capture of the trained model")
    made.add_argument("--untrained", type=Path, help="also a capture of untrained weights on the same samples")
    chosen = made.parse_args(arguments)
    with report() as status:
        from workbench.unified.checkpoint import load_checkpoint
        from workbench.unified.data.mixture import Mixture

        model, tokenizers = load_checkpoint(chosen.checkpoint)
        data = Mixture(tokenizers, chosen.data_root, chosen.seed, chosen.cache)
        samples = [data.held_out(task, number) for task in TASKS for number in range(chosen.each)]
        record_samples(model, tokenizers, samples, name=chosen.name).save(chosen.out)
        if chosen.untrained is not None:
            null = record_samples(
                model, tokenizers, samples, name=chosen.name, tokens=False, untrained_seed=chosen.seed
            )
            null.save(chosen.untrained)
    return status.code


if __name__ == "__main__":
    sys.exit(main())
