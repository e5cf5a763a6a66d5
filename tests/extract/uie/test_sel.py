"""SEL and SSI by token numbers: written, read, damaged; records and offsets by every mode against hand-worked sentences."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.extract import made
from workbench.extract.errors import EngineError
from workbench.extract.formats import schema_of
from workbench.extract.formats.uie import sel, spot_asoc
from workbench.extract.records import Argument, Document, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain
from workbench.extract.uie.gold import Cutter, structure
from workbench.extract.uie.places import Places
from workbench.extract.uie.records import OURS, PAPER, Reader, Switches
from workbench.extract.uie.results import extraction_of
from workbench.extract.uie.roundtrip import round_trip
from workbench.extract.uie.sel import FIXED, ILL, NULL, WELL, Asoc, Spot, read, write
from workbench.extract.uie.ssi import LabelIds, make_prompt, prompt_of, roles_of_spots, source_ids
from workbench.extract.usm.plan import blocks

REVIEW = "great laptop that offers many great features !"


def review() -> Document:
    """The worked example of UIE's README."""
    at = REVIEW.index("features")
    second = REVIEW.rindex("great")
    aspect = Span(start=at, end=at + 8, type="aspect")
    opinion = Span(start=second, end=second + 5, type="opinion")
    return Document(
        id="1",
        text=REVIEW,
        entities=(aspect, opinion),
        relations=(Relation(type="positive", head=aspect, tail=opinion),),
    )


def gold(document: Document, words: Any, tokens: SelTokens) -> list[Spot]:
    pieces = encode_plain(words, tokens, [document.text])[0]
    block = blocks(schema_of([document]).expanded(), 10**9)[0]
    names = {*block.entities, *block.events}, {*block.relations, *block.roles}
    return structure(document, Cutter(document.text, pieces, words), LabelIds(words, tokens), *names)


def test_the_worked_example_is_the_paper_s_string(words: Any, tokens: SelTokens) -> None:
    """Numbers against the string that formats/uie.py writes (UIE's `convert_spot_asoc`), tokenised as a whole."""
    document = review()
    row = {
        "entity": [{"type": "opinion", "offset": [5], "text": "great"}, {"type": "aspect", "offset": [6], "text": "features"}],
        "relation": [
            {"type": "positive", "args": [{"type": "aspect", "offset": [6], "text": "features"}, {"type": "opinion", "offset": [5], "text": "great"}]}
        ],
    }  # fmt: skip
    written = write(gold(document, words, tokens), tokens)
    assert written == words(sel(spot_asoc(row)), add_special_tokens=False)["input_ids"]


def test_the_prompt_has_the_paper_s_order_and_labels_tokenised_alone(words: Any, tokens: SelTokens) -> None:
    prompt = make_prompt(LabelIds(words, tokens), ["person", "city"], ["works for"])
    text = encode_plain(words, tokens, ["Marie in Paris"])[0]
    ids = source_ids(prompt.ids(tokens), text.ids, tokens)
    said = "<spot> city <spot> person <asoc> works for <extra_id_2> Marie in Paris"
    assert ids == [*words(said, add_special_tokens=False)["input_ids"], words.sep_token_id]
    for (kind, label), at in prompt.places().items():
        assert tuple(ids[at : at + len(label)]) == label and ids[at - 1] == (
            tokens.spot if kind == "spot" else tokens.asoc
        )


def test_special_tokens_in_a_text_are_text(words: Any, tokens: SelTokens) -> None:
    text = "<extra_id_0> Marie <spot> [SEP] <extra_id_1> Paris"
    pieces = encode_plain(words, tokens, [text])[0]
    assert not set(pieces.ids.tolist()) & tokens.special
    assert text[pieces.starts[0] : pieces.ends[-1]] == text
    assert not set(LabelIds(words, tokens)("<extra_id_5> person")) & tokens.special


def test_what_is_written_is_read(words: Any, tokens: SelTokens) -> None:
    for seed in range(60):
        document = made.document(seed, "marie in paris 中<extra_id_0>[]")
        if not (document.entities or document.events):
            continue
        spots = gold(document, words, tokens)
        got = read([*write(spots, tokens), tokens.eos, tokens.pad], tokens)
        assert got.grammatical and len(got.spots) == len(spots)
        for a, b in zip(got.spots, spots, strict=True):
            assert (a.label, a.span, a.at) == (b.label, b.span, b.at)
            assert [(x.label, x.span, x.at) for x in a.asocs] == [(x.label, x.span, x.at) for x in b.asocs]


def test_damaged_output_is_counted_and_read_as_far_as_it_goes(tokens: SelTokens) -> None:
    o, c, s = tokens.open, tokens.close, tokens.colon
    assert (
        read([], tokens).status == ILL and read([7, o, c], tokens).status == ILL and read([c, o], tokens).status == ILL
    )
    empty = read([tokens.start, o, c, tokens.eos], tokens)
    assert empty.grammatical and empty.spots == []
    cut = read([o, o, 70, s, 71], tokens)
    assert cut.status == FIXED and cut.spots == [Spot((70,), (71,), 4)]
    behind = read([o, o, 70, s, 71, c, c, o, 9], tokens)
    assert behind.grammatical and len(behind.spots) == 1, "what follows the last bracket is cut off"
    for wrong in ([70, 71], [70, s], [s, 71], [70, s, 71, s, 72], [70, s, tokens.null, 71], [tokens.null, s, 71]):
        found = read([o, o, *wrong, c, o, 70, s, 73, c, c], tokens)
        assert found.status == WELL and found.dropped == 1 and [spot.span for spot in found.spots] == [(73,)]
    deep = read([o, o, 70, s, 71, o, 80, s, 72, o, 80, s, 73, c, c, c, c], tokens)
    assert deep.dropped == 1 and not deep.grammatical and deep.spots[0].asocs == [Asoc((80,), (72,), 8)]
    rejected = read([o, o, 70, s, tokens.null, c, c], tokens)
    assert rejected.grammatical and rejected.spots[0].span == NULL


def test_any_tokens_are_read_without_an_error(tokens: SelTokens) -> None:
    draw = random.Random(0)
    kinds = [tokens.open, tokens.close, tokens.colon, tokens.null, tokens.eos, tokens.pad, tokens.text, 70, 71, 72]
    statuses = {read([draw.choice(kinds) for _ in range(draw.randint(0, 30))], tokens).status for _ in range(3000)}
    assert statuses == {WELL, FIXED, ILL}


def test_a_tokenizer_without_the_tokens_is_refused(plain_tokenizer: Any) -> None:
    with pytest.raises(EngineError, match="lacks <spot>, <asoc>, <extra_id_0>"):
        SelTokens.of(plain_tokenizer)


# ---------------------------------------------------------------------- offsets
def reader_of(words: Any, tokens: SelTokens, schema: dict[str, Any], mode: str, switches: Switches = OURS) -> Reader:
    whole = Schema.read(schema).expanded()
    return Reader(whole, prompt_of(LabelIds(words, tokens), blocks(whole, 99)[0]), mode, switches)


def records(
    words: Any,
    tokens: SelTokens,
    text: str,
    schema: dict[str, Any],
    spots: list[Any],
    mode: str,
    switches: Switches = OURS,
) -> Any:
    """Read `(label, words, [(label, words)])` off a text."""
    coder = LabelIds(words, tokens)

    def ids(words_: str) -> tuple[int, ...]:
        return tuple(words(words_, add_special_tokens=False)["input_ids"])

    tree = [Spot(coder(a), ids(b), asocs=[Asoc(coder(c), ids(d)) for c, d in inner]) for a, b, inner in spots]
    places = Places(text, encode_plain(words, tokens, [text])[0], words, tokens)
    return reader_of(words, tokens, schema, mode, switches).records(tree, places)


TYPES = {"entities": ["person", "city"], "relations": {"works for": {"head": ["person"], "tail": ["city"]}}}


def test_entities_by_every_mode(words: Any, tokens: SelTokens) -> None:
    text = "Paris near Paris museum"  # Paris at 0 and 11
    spots = [("city", "paris", []), ("city", "paris museum", [])]

    def places(mode: str, switches: Switches = OURS) -> list[tuple[int, int]]:
        return sorted(key[1:] for key in records(words, tokens, text, TYPES, spots, mode, switches).entities)

    assert places("first") == places("closest") == [(0, 5), (11, 23)]
    assert places("longer_first") == [(0, 5), (11, 23)]
    assert places("all") == [(0, 5), (11, 16), (11, 23)]
    text, spots = "museum paris", [("city", "paris", []), ("city", "museum paris", [])]
    assert places("longer_first") == [(0, 12), (7, 12)], "a nested mention is kept"
    assert places("longer_first", PAPER) == [(0, 12)], "the original loses it"


def test_a_repeated_mention_takes_the_next_place(words: Any, tokens: SelTokens) -> None:
    found = records(words, tokens, "Paris or Paris or Paris", TYPES, [("city", "paris", [])] * 2, "first")
    assert sorted(key[1] for key in found.entities) == [0, 9]


def test_relations_closest_first_and_own_ends(words: Any, tokens: SelTokens) -> None:
    text = "paris : marie met pierre who met marie in paris"
    second, last = text.rindex("marie"), text.rindex("paris")
    spots = [("person", "marie", []), ("person", "marie", [("works for", "paris")])]

    def ends(mode: str, switches: Switches = OURS) -> list[tuple[int, int]]:
        found = records(words, tokens, text, TYPES, spots, mode, switches)
        return [(head[1], tail[1]) for _, head, tail in found.relations]

    assert ends("closest") == [(second, last)], "the relation stands where its spot stands"
    assert ends("closest", PAPER) == [(text.index("marie"), 0)], "the original takes the nearest pair"
    assert ends("first", PAPER) == [(text.index("marie"), 0)]


def test_the_original_s_losses_and_tail_types_are_switches(words: Any, tokens: SelTokens) -> None:
    text = "marie met pierre in paris"
    spots = [
        ("person", "marie", [("works for", "museum"), ("works for", "paris")]),
        ("person", "pierre", [("works for", "paris")]),
    ]
    ours = records(words, tokens, text, TYPES, spots, "closest").relations
    assert {(key[1][1], key[2][0]) for key in ours} == {(0, "city"), (10, "city")}
    paper = records(words, tokens, text, TYPES, spots, "closest", PAPER).relations
    assert {(key[1][1], key[2][0]) for key in paper} == {(0, "person")}, (
        "an unknown tail has the head's type; the rest is lost"
    )


def test_a_tail_without_a_spot_is_an_entity_so_that_its_relation_stays(words: Any, tokens: SelTokens) -> None:
    text = "marie met pierre in paris"
    at = text.index("paris")
    spots = [("person", "marie", [("works for", "paris")])]
    whole = Schema.read(TYPES)

    def shown(switches: Switches) -> tuple[set[Any], int]:
        found = records(words, tokens, text, TYPES, spots, "closest", switches)
        kept = extraction_of(text, whole, found, floor=0.0, threshold=0.0, calibrated=False, notes=()).select()
        return {s.key for s in kept.entities or ()}, len(kept.relations or ())

    person, city = (0, 5, "person"), (at, at + 5, "city")
    assert shown(OURS) == ({person, city}, 1)
    assert shown(replace(OURS, every_end=False)) == ({person}, 0)


def test_roles_that_do_not_belong_to_an_event_are_left_out(words: Any, tokens: SelTokens) -> None:
    schema = {"events": {"attack": ["victim"], "born": ["city"]}}
    spots = [("attack", "met", [("victim", "pierre"), ("city", "paris")])]
    text = "marie met pierre near paris"
    ours, paper = (records(words, tokens, text, schema, spots, "closest", s) for s in (OURS, PAPER))
    assert {key[1] for key in ours.arguments} == {"victim"} == {key[1] for key in paper.arguments}
    whole = Schema.read(schema)
    assert roles_of_spots(whole, blocks(whole, 99)[0]) == {"attack": {"victim"}, "born": {"city"}}


def test_an_unknown_sign_matches_the_word_that_stands_there(words: Any, tokens: SelTokens) -> None:
    text = "marie met 中文 pierre"
    places = Places(text, encode_plain(words, tokens, [text])[0], words, tokens)
    ids = words("met", add_special_tokens=False)["input_ids"], words("pierre", add_special_tokens=False)["input_ids"]
    assert places.of([*ids[0], tokens.unk, *ids[1]]) == [(6, 19)]
    assert places.of([999_999 % len(words)]) == [] and places.of([]) == []


# ---------------------------------------------------------------------- gold -> SEL -> records -> gold
def with_events() -> Document:
    text = "attack in paris : marie met pierre in paris"
    return Document(
        id="e",
        text=text,
        entities=(Span(start=18, end=23, type="person"), Span(start=10, end=15, type="city"), Span(start=38, end=43, type="city")),
        relations=(Relation(type="works for", head=Span(start=18, end=23, type="person"), tail=Span(start=38, end=43, type="city")),),
        events=(
            Event(type="attack", trigger=Span(start=0, end=6, type="attack"), arguments=(Argument(role="place", start=10, end=15),)),
            Event(type="meeting", trigger=Span(start=24, end=27, type="meeting"), arguments=(Argument(role="who", start=18, end=23), Argument(role="who", start=28, end=34))),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["first", "closest", "longer_first", "pointed"])
def test_round_trip(words: Any, tokens: SelTokens, mode: str) -> None:
    documents = [review(), with_events()]
    schema = schema_of(documents)
    found, bad = round_trip(documents, schema, words, tokens, mode)
    assert bad == 0
    for document, extraction in zip(documents, found, strict=True):
        result = extraction.select(0.0)
        if mode == "pointed" or document.id == "e":
            assert {s.key for s in result.entities or ()} == {s.key for s in document.entities or ()}
        if mode == "pointed":  # else another great, another paris is nearer
            assert {r.key for r in result.relations or ()} == {r.key for r in document.relations or ()}
        assert {(e.key, *(a.key for a in e.arguments)) for e in result.events or ()} == {
            (e.key, *(a.key for a in e.arguments)) for e in document.events or ()
        }


def test_pointed_loses_nothing_in_any_text(words: Any, tokens: SelTokens) -> None:
    """Random annotation of any script: what begins and ends between pieces comes back whole, but for relations of a mention with itself."""
    total = alone = 0
    for seed in range(80):
        document = made.document(seed, "ab 12 ,.é😀-", events=False)
        pieces = encode_plain(words, tokens, [document.text])[0]
        fits = [s for s in document.entities or () if pieces.span(s.start, s.end) is not None]
        if not fits:
            continue
        kept = document.model_copy(
            update={
                "entities": tuple(fits),
                "relations": tuple(r for r in document.relations or () if r.head in fits and r.tail in fits),
            }
        )
        found, bad = round_trip([kept], schema_of([kept]), words, tokens, "pointed")
        result = found[0].select(0.0)
        assert not bad and {s.key for s in result.entities or ()} == {s.key for s in kept.entities or ()}
        apart = [r for r in kept.relations or () if (r.head.start, r.head.end) != (r.tail.start, r.tail.end)]
        assert {r.key for r in result.relations or ()} == {r.key for r in apart}
        total += len(fits)
        alone += len(kept.relations or ()) - len(apart)
    assert total > 100 and alone
