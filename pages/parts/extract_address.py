"""The address of Extract: schema and settings, never the text.

A changed schema stands in it packed (zlib, base64 for addresses), as long as that is short enough for every browser.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

from workbench.extract import Schema, SchemaError

LONGEST = 3000  # characters of a packed schema
UNPACKED = 256 * 1024  # bytes that one may unfold to


def pack(schema: Schema) -> str | None:
    """A schema for an address, or None if it is too long for one."""
    packed = base64.urlsafe_b64encode(zlib.compress(schema.dumps().encode(), 9)).decode().rstrip("=")
    return packed if len(packed) <= LONGEST else None


def unpack(text: str) -> Schema:
    """The schema of an address.

    Raises:
        SchemaError: it is damaged, too large, or no schema.
    """
    try:
        raw = base64.b64decode(text[: 2 * LONGEST] + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        inflate = zlib.decompressobj()
        found = inflate.decompress(raw, UNPACKED)
        if inflate.unconsumed_tail or not inflate.eof:
            raise ValueError
        return Schema.parse(found.decode())
    except (ValueError, binascii.Error, zlib.error, UnicodeDecodeError):
        raise SchemaError(
            "The schema in the link is damaged: ask for the link again, or for the schema as a file."
        ) from None


def to_address(
    ready: str | None,
    schema: Schema | None,
    engine: str,
    default_engine: str,
    model: str | None,
    settings: Mapping[str, Any],
) -> dict[str, str]:
    """What the address should say.

    Args:
        ready: name of the ready schema if it is unchanged. model: name of shipped weights, never a path.
        settings: threshold (None: the engine's), nested, labels (numbers among the schema's labels).
    """
    address: dict[str, str] = {}
    if ready is not None:
        if ready != "news":
            address["ready"] = ready
    elif schema is not None and (packed := pack(schema)) is not None:
        address["schema"] = packed
    if engine != default_engine:
        address["engine"] = engine
    if model is not None:
        address["model"] = model
    if settings.get("threshold") is not None:
        address["threshold"] = f"{settings['threshold']:.2f}"
    if not settings.get("nested", True):
        address["flat"] = "1"
    if settings.get("labels"):
        address["only"] = ",".join(str(n) for n in settings["labels"])
    return address


def from_address(address: Mapping[str, str], labels_of: Any) -> dict[str, Any]:
    """What an address says, as far as it makes sense: threshold, nested, labels.

    Args:
        labels_of: the schema's labels in order.
    """
    found: dict[str, Any] = {}
    try:
        value = float(address.get("threshold", ""))
        if 0.0 <= value <= 1.0:
            found["threshold"] = value
    except ValueError:
        pass
    found["nested"] = address.get("flat") != "1"
    numbers = [int(part) for part in address.get("only", "").split(",") if part.isdigit()]
    found["labels"] = [labels_of[n] for n in dict.fromkeys(numbers) if n < len(labels_of)]
    return found
