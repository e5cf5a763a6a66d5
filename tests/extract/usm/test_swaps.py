"""Copies with mentions swapped say the same about other words: what is annotated moves with the text and stays what it was."""

from __future__ import annotations

import pytest

from tests.extract.made import document
from tests.extract.usm.test_links import DOCUMENT, NESTED, TEXT
from workbench.extract.records import Document, Relation, Span
from workbench.extract.usm.train.swaps import swapped


def _words(made: Document) -> list[tuple[str, str]]:
    return [(span.type, made.text[span.start : span.end]) for span in made.entities or ()]


def test_a_sentence_keeps_its_relation_with_other_names() -> None:
    def told(text: str, who: str, where: str) -> Document:
        head = Span(start=text.index(who), end=text.index(who) + len(who), type="person")
        tail = Span(start=text.index(where), end=text.index(where) + len(where), type="place")
        return Document(
            id=who, text=text, entities=(tail, head), relations=(Relation(type="born", head=head, tail=tail),)
        )

    given = [told("Al was born in Ulm.", "Al", "Ulm"), told("In Warsaw Marie Curie was born.", "Marie Curie", "Warsaw")]
    made = swapped(given, 40, 0)
    texts = {each.text for each in made}
    assert "Marie Curie was born in Warsaw." in texts and "In Ulm Al was born." in texts
    assert "Al was born in Warsaw." in texts
    for each in made:
        (relation,) = each.relations or ()
        assert each.text[relation.head.start : relation.head.end] in ("Al", "Marie Curie")
        assert each.text[relation.tail.start : relation.tail.end] in ("Ulm", "Warsaw")


@pytest.mark.parametrize("seed", range(30))
def test_everything_annotated_is_still_there(seed: int) -> None:
    """Types, order and number stay; what was not swapped keeps its words, what was has those of a mention of its type."""
    given = [
        each.model_copy(update={"id": f"text{n}"})
        for n, each in enumerate([document(seed), document(seed + 1000), DOCUMENT])
    ]
    by_id = {each.id: each for each in given}
    words = {pair for each in given for pair in _words(each)}
    for made in swapped(given, 5, seed):
        before = by_id[made.id.partition("~")[0]]
        assert [span.type for span in made.entities or ()] == [span.type for span in before.entities or ()]
        assert set(_words(made)) <= words
        assert [r.type for r in made.relations or ()] == [r.type for r in before.relations or ()]
        assert [(e.type, [a.role for a in e.arguments]) for e in made.events or ()] == [
            (e.type, [a.role for a in e.arguments]) for e in before.events or ()
        ]
        for event, old in zip(made.events or (), before.events or (), strict=True):
            for now, then in zip((event.trigger, *event.arguments), (old.trigger, *old.arguments), strict=True):
                changed = made.text[now.start : now.end] != before.text[then.start : then.end]
                swappable = (then.start, then.end) in {(s.start, s.end) for s in before.entities or ()}
                assert not changed or swappable


def test_a_mention_inside_another_stays() -> None:
    for made in swapped([DOCUMENT], 20, 1):
        kept = {pair for pair in _words(made) if pair[0] == NESTED.type}
        assert kept == {(NESTED.type, TEXT[NESTED.start : NESTED.end])}


def test_the_same_seed_makes_the_same_copies() -> None:
    assert swapped([DOCUMENT], 3, 7) == swapped([DOCUMENT], 3, 7) != swapped([DOCUMENT], 3, 8)
