"""Signs for tokens that stand for a part of a picture, clip or sound and have no words of their own."""

from __future__ import annotations

import re

SIGNS = {"image": ("▦", "picture"), "video": ("▤", "clip"), "audio": ("♪", "sound")}  # modality -> sign, word
_NAMES = {"image": "image", "img": "image", "video": "video", "audio": "audio"}
# "<image>", "<|video_pad|>", "<image_soft_token>", "[IMG]"; what opens or closes a part ("<boi>", "<|vision_start|>") keeps its own text.
_PLACEHOLDER = re.compile(r"[<\[]\|?(image|img|video|audio)(_pad|_soft_token|_patch|_token)?\|?[>\]]", re.IGNORECASE)


def sign_of(piece: str | None, modality: str | None = None) -> str | None:
    """The sign of a token that is a part of a picture, clip or sound; None where its text says something.

    Args:
        piece: its text, None where the capture holds none. modality: of the token, where it is known.
    """
    if piece is None:
        return SIGNS[modality][0] if modality in SIGNS else None
    found = _PLACEHOLDER.fullmatch(piece)
    return None if found is None else SIGNS[_NAMES[found[1].lower()]][0]


def word_of(piece: str) -> str | None:
    """ "▦ picture" for a placeholder, None for other tokens."""
    sign = sign_of(piece)
    return None if sign is None else next(f"{one} {word}" for one, word in SIGNS.values() if one == sign)
