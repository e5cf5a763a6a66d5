"""The tokenizer or processor of a model, through transformers' Auto classes.

Processors of models that take clips need torchvision, also for pictures and sounds alone. Where it is not installed, such
a processor is built from its other parts, and clips are what the model then does not take.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.models.files import ModelSource
from workbench.models.options import LoadOptions, hub_arguments, load_error

_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")


def load_processor(source: ModelSource, options: LoadOptions) -> tuple[Any, Any]:
    """(processor or tokenizer, tokenizer) of a model; (None, None) if its files have neither.

    Raises:
        ModelError: if there is one that cannot be loaded.
    """
    from transformers import AutoTokenizer

    arguments = hub_arguments(source, options)
    folder = source.folder
    told = folder is not None and any((folder / file).is_file() for file in _FILES)
    if (told or folder is None) and source.kind != "gguf":
        try:
            return _processor(source, arguments)
        except Exception as fault:
            if told:  # a hub repository may hold no processor, and a tokenizer all the same
                raise load_error(source, fault, "processor") from fault
    if folder is not None and source.kind == "folder" and not _has_tokenizer(folder):
        return None, None
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.target, **arguments)
    except Exception as fault:
        raise load_error(source, fault, "tokenizer") from fault
    return tokenizer, tokenizer


def _has_tokenizer(folder: Path) -> bool:
    return any(folder.glob("*token*")) or any(folder.glob("vocab*"))


def _processor(source: ModelSource, arguments: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoProcessor, ProcessorMixin

    try:
        processor = AutoProcessor.from_pretrained(source.target, **arguments)
    except ImportError as fault:
        if find_spec("torchvision") is not None or "torchvision" not in str(fault).lower():
            raise
        processor = _without_clips(source, arguments)
        if processor is None:
            raise
    tokenizer = getattr(processor, "tokenizer", None)
    is_tokenizer = not isinstance(processor, ProcessorMixin) and hasattr(processor, "convert_ids_to_tokens")
    return processor, processor if tokenizer is None and is_tokenizer else tokenizer


def _without_clips(source: ModelSource, arguments: dict[str, Any]) -> Any:
    """The processor with every part but the one for clips; None if it has no such part or its class is unknown."""
    import transformers

    fields, _ = transformers.ProcessorMixin.get_processor_dict(source.target, **arguments)
    cls: Any = getattr(transformers, str(fields.get("processor_class")), None)
    loaders: dict[str, Any] = {
        "image_processor": transformers.AutoImageProcessor,
        "feature_extractor": transformers.AutoFeatureExtractor,
        "tokenizer": transformers.AutoTokenizer,
    }
    names = set(cls.get_attributes()) if cls is not None else set()
    if "video_processor" not in names or not names - {"video_processor"} <= loaders.keys():
        return None

    class WithoutClips(cls):
        """The processor, content to have no video processor."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor" and argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    # Class names decide in transformers which arguments a processor passes on.
    WithoutClips.__name__ = WithoutClips.__qualname__ = cls.__name__
    parts = {
        name: loaders[name].from_pretrained(source.target, **arguments) for name in sorted(names - {"video_processor"})
    }
    template = fields.get("chat_template") or getattr(parts.get("tokenizer"), "chat_template", None)
    return WithoutClips(**parts, video_processor=None, chat_template=template)
