"""The words of every class, caption and direction: names that share no word, several wordings for each kind.

Class names that share words ("shirt", "t-shirt") cost a small model accuracy, so the garments are renamed here where they do.
Everything is in lower case, as the stories are.
"""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GARMENTS = ("tee", "trousers", "pullover", "dress", "coat", "sandal", "blouse", "sneaker", "bag", "boot")
"""Fashion-MNIST's classes 0 to 9 (T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot)."""
DIRECTIONS = ("left", "right", "up", "down")
SOMEONE = "someone"
"""Stands for the speaker of a sound that was sped up or slowed down, or of one that nobody named."""


@dataclass(frozen=True)
class Wordings:
    """The wordings of one kind of caption; ``{x}`` is the name of the class, ``{y}`` a second one (direction or speaker).

    Attributes:
        captions: sentences that name what is shown; the first one is the plain one used in evaluation.
    """

    captions: tuple[str, ...]

    def write(self, number: int, x: str, y: str = "") -> str:
        """Caption in wording ``number`` (modulo the number of wordings)."""
        return self.captions[number % len(self.captions)].format(x=x, y=y)


GARMENT_WORDINGS = Wordings(
    (
        "a picture of clothes: {x}",
        "{x}",
        "this is what we call {x}",
        "something to wear, {x}",
        "on a dark ground lies this: {x}",
        "from the wardrobe: {x}",
    )
)
DIGIT_WORDINGS = Wordings(
    (
        "a handwritten {x}",
        "the digit {x}",
        "someone wrote {x} by hand",
        "here stands the number {x}",
        "a {x} in white ink",
    )
)
EMOJI_WORDINGS = Wordings(("an emoji: {x}", "emoji of {x}", "a small drawing, {x}", "a coloured sign, {x}"))
SPEECH_WORDINGS = Wordings(
    (
        "{y} says {x}",
        "the voice of {y} says {x}",
        "spoken by {y}: {x}",
        "{x}, said {y}",
    )
)
CLIP_WORDINGS = Wordings(
    (
        "the digit {x} moves {y}",
        "a {x} drifting {y}",
        "a handwritten {x} goes {y}",
        "number {x} slides {y}",
        "a clip of {x} on its way {y}",
    )
)


def find_name(text: str, names: tuple[str, ...]) -> int:
    """Index of the first word of ``text`` that is one of ``names``, -1 if there is none.

    Args:
        text: what a model wrote; punctuation next to a word does not count.
        names: single words.
    """
    for word in text.lower().split():
        word = word.strip(".,:;!?'\"()")
        if word in names:
            return names.index(word)
    return -1
