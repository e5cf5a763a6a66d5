from __future__ import annotations

from hashlib import blake2b

import numpy as np

from workbench.capture.blocks import block_of, priority_of


def test_block_is_the_documented_hash() -> None:
    """docs/capture_format.md promises this formula to readers in other languages."""
    for name in ("0", "emma.txt", "Straße"):
        digest = blake2b(name.encode("utf-8"), digest_size=8).digest()
        assert block_of(name) == int.from_bytes(digest, "big") % 32
        assert priority_of(name, 7) == int.from_bytes(blake2b(f"7:{name}".encode(), digest_size=8).digest(), "big")


def test_blocks_are_even() -> None:
    counts = np.bincount([block_of(str(number)) for number in range(32_000)], minlength=32)
    # Binomial(32000, 1/32): mean 1000, standard deviation 31; five of them leave a true hash almost no chance to fail.
    assert counts.min() > 845
    assert counts.max() < 1155
