"""Inputs: files of any modality to documents. Imports no torch.

from workbench.inputs import InputOptions, read_documents
documents = read_documents(["texts/"], InputOptions(group_by="folder"))
"""

from workbench.inputs.documents import DEFAULT_PROMPTS, Document, InputError, InputOptions, Message, Part
from workbench.inputs.read import Inputs, read_documents, read_inputs

__all__ = [
    "DEFAULT_PROMPTS",
    "Document",
    "InputError",
    "InputOptions",
    "Inputs",
    "Message",
    "Part",
    "read_documents",
    "read_inputs",
]
