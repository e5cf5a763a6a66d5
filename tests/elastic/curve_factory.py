"""A curve by hand: three axes, numbers that a test can name, documents to draw from."""

from __future__ import annotations

from pathlib import Path

from probes import SubModel
from workbench.elastic.curve import write_curve


def save_curve(folder: Path, *, model: str = "tiny", timed: bool = True, group: str = "prose") -> Path:
    """Write a curve of 4 layers x 2 experts x top-k 1 and 2 (8 sub-models) with two groups and 4 documents."""
    folder.mkdir(parents=True)
    rows, documents = [], []
    for depth in (4, 3, 2, 1):
        for chosen in (2, 1):
            full = depth == 4 and chosen == 2
            key = "full" if full else f"layers=first:{depth} top_k={chosen}"
            loss = 2.0 + 0.5 * (4 - depth) + 0.1 * (2 - chosen)
            quality = [
                {"group": name, "measure": measure, "value": value, "low": value - 0.05, "high": value + 0.05, "better": better,
                 "documents": 4 if name == "all inputs" else 2, "tokens": 400}
                for name, shift in (("all inputs", 0.0), (group, 0.2), ("code", -0.2))
                for measure, value, better in (("loss", loss + shift, "lower"), ("accuracy", 0.9 - loss / 10, "higher"))
            ]  # fmt: skip
            ms = 2.0 * depth + chosen
            clock = {
                "measured": "gathered", "decode_ms_p50": ms, "decode_ms_p90": ms + 1, "decode_ms_low": ms - 0.2, "decode_ms_high": ms + 0.2,
                "decode_ms_n": 8, "prefill_ms_p50": 3 * ms, "decode_tokens_a_second": 1000 / ms, "memory_bytes": 1_000_000 * depth + 500_000,
            }  # fmt: skip
            masked = {"measured": "masked", "masked_because": "latency was not asked for"}
            rows.append(
                {
                    "sub_model": key, "layers": "all" if full else f"first:{depth}", "experts": "all", "top_k": "all" if full else str(chosen),
                    "full": full, "exact": SubModel(layers=tuple(range(depth)), top_k=chosen).to_json(), "layers_kept": list(range(depth)),
                    "depth": depth, "experts_kept": 2, "experts_a_token": chosen, "parameters_stored": 250_000 * depth,
                    "parameters_active": 100_000 * depth * chosen, "bytes_stored": 1_000_000 * depth, "share_stored": depth / 4,
                    "loss": loss, "accuracy": 0.9 - loss / 10, "documents": 4, "tokens": 400, "quality": quality, "model": model,
                    "family": "mixtral", "device": "cpu", "dtype": "float32", "created": "2026-01-02T03:04:05+00:00",
                    **(clock if timed else masked),
                }
            )  # fmt: skip
            documents += [
                {"sub_model": key, "document": f"d{number}", "group": group if number < 2 else "code", "tokens": 100,
                 "loss": 100 * (loss + 0.01 * number), "right": 50}
                for number in range(4)
            ]  # fmt: skip
    write_curve(folder, rows, documents)
    return folder
