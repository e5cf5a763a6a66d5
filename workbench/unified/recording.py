"""Files and chats as the unified model takes them, for recordings: `workbench capture` and the pages' New capture.

A picture, sound or clip with a caption is recorded both ways, read (file, then caption) and made (caption, then file); without one it is made from no
words. Texts alone go through the model as through any other (`workbench.inputs.rows`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.capture.errors import WorkbenchError
from workbench.inputs import Document, InputError
from workbench.inputs.media_rows import MediaRow
from workbench.unified.batch import make_batch
from workbench.unified.checkpoint import tokenizers_beside
from workbench.unified.documents import Reader
from workbench.unified.layout import lay_out

if TYPE_CHECKING:
    from workbench.models import LoadedModel


class SampleMaker:
    """Makes the inputs of the unified model out of a document with media; stands where other models have a `MediaMaker`.

    Args:
        loaded: the model, loaded from a folder that holds its tokenizers.
        by_role: tokens are to be grouped by the role of their message, which samples do not know.
        generating: the model is to write on.

    Raises:
        UnifiedError: there are no tokenizers beside the weights.
    """

    def __init__(self, loaded: LoadedModel, *, by_role: bool = False, generating: bool = False) -> None:
        self.config: Any = loaded.model.config
        self.name = loaded.info.id
        self.by_role = by_role
        self.generating = generating
        self.reader = Reader(tokenizers_beside(loaded.model, loaded.info.id))

    def check(self, document: Document) -> None:
        """Raise InputError if this recording has no use for the document's media."""
        if self.generating:
            raise InputError(
                f"'{document.id}' holds more than text, and after such a document '{self.name}' writes on the page Generate only: ask for no new tokens, or "
                "leave it out."
            )
        if self.by_role:
            raise InputError(
                f"'{document.id}' holds more than text, and '{self.name}' does not tell the roles of a chat there: group by something else, for example modality."
            )

    def row(self, document: Document) -> MediaRow:
        """The samples of a document, a row each, in one pass.

        Raises:
            InputError: a file is broken or of no use to the model, or a sample is longer than the model takes.
        """
        self.check(document)
        try:
            samples = self.reader.samples(document)
        except InputError:
            raise
        except WorkbenchError as fault:
            raise InputError(str(fault)) from fault
        longest = max(len(lay_out(sample, self.config)) for sample in samples)
        if longest > self.config.max_position_embeddings:
            raise InputError(
                f"Expected documents of at most {self.config.max_position_embeddings} tokens, but '{document.id}' has {longest}: shorten it."
            )
        inputs = dict(make_batch(samples, self.config, self.reader.tokenizers))
        return MediaRow(document.id, inputs, document.group, None, rows=len(samples), exact=True)
