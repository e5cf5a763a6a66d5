"""`workbench models`: models at hand."""

from __future__ import annotations

from typing import Any

from workbench.commands.output import JsonOption, Output


def models(as_json: JsonOption = False) -> None:
    """List the models at hand: the embedded ones, mixture-of-experts models in the local Hugging Face cache, and the supported families.

    Reads configurations only: no weights, no network. Any other model is named by its folder, GGUF file or hub id.

    Example:   workbench models;   workbench capture --model omni-mini --input texts --out my.capture
    """
    from workbench.models import ListedModel, cached_models, embedded_models, families

    def row(model: ListedModel) -> dict[str, Any]:
        return {
            "name": model.name,
            "family": model.family,
            "experts": model.experts.experts,
            "top_k": model.experts.top_k,
            "layers": model.experts.layers,
            "bytes": model.bytes,
            "revision": model.revision,
        }

    out = Output(as_json)
    embedded, cached = embedded_models(), cached_models()
    for title, found, empty in (
        ("Embedded", embedded, "none: this installation has no sample_data"),
        ("In the Hugging Face cache", cached, "none with experts"),
    ):
        out.say(title)
        for model in found:
            what = model.experts
            numbers = (
                f"{what.layers or '?'} layers, {what.experts or '?'} experts, {what.top_k or '?'} chosen for each token"
            )
            out.say(f"  {model.name}   {model.family}, {numbers}, {model.bytes / 1e6:,.1f} MB")
        if not found:
            out.say(f"  {empty}")
    out.say(f"Families ({len(families())} model types)")
    out.say("  " + ", ".join(families()))
    out.result(
        {
            "embedded": [row(model) for model in embedded],
            "cached": [row(model) for model in cached],
            "families": list(families()),
        }
    )
