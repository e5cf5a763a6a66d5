"""Prompts, windows, reading and votes against worked cases of the original and against brute force."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest

from tests.extract.metaner.conftest import document, documents
from workbench.extract.errors import EngineError
from workbench.extract.metaner.merge import Entry, Hit, occurrences, place, read_output, vote, words_of
from workbench.extract.metaner.prompts import Prompts, Shape, names_of
from workbench.extract.metaner.tokens import MASKS, TYPES, MetaTokens
from workbench.extract.metaner.windows import interleave, prompts
from workbench.extract.metaner.wire import Wire
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.tokens import encode_plain

Made = tuple[Any, Any, MetaTokens]
SCHEMA = Schema.read({"entities": ["person", "city"]})


# ---------------------------------------------------------------------- the format
def test_the_released_classes_get_the_paper_s_strings(t5: Made) -> None:
    """Each part is tokenised by itself; nothing stands behind the query."""
    _, tokenizer, tokens = t5

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    two = [document(0), document(1)]
    asked = Prompts(tokenizer, tokens, False, SCHEMA, two, Shape(ordered=True))
    text = "marie worked in warsaw"
    prompt = next(asked.of(0, text, encode_plain(tokenizer, tokens.sel, [text])[0]))
    sign = {n: tokenizer.convert_tokens_to_ids(f"<extra_id_{n}>") for n in (4, 5, 6, 7)}
    wanted = [*ids(" <extra_id_7> <type1>"), *ids(" <extra_id_7> <type2>")]
    for shown in two:
        a, b, c = (shown.text[s.start : s.end] for s in shown.entities or ())
        wanted += [sign[4], *ids(shown.text), sign[6]]
        wanted += [*ids(f"{a} is <type1>."), *ids(f" {b} is <type1>."), *ids(f" {c} is <type2>."), sign[5]]
    wanted += [sign[4], *ids(text)]
    assert prompt.source.ids == wanted and prompt.shown == [0, 1]
    assert tokens.out == sign[6] and tokens.end == sign[5]
    plain = Prompts(tokenizer, tokens, False, SCHEMA)
    prompt = next(plain.of(0, text, encode_plain(tokenizer, tokens.sel, [text])[0]))
    assert prompt.source.ids == [*ids(" <extra_id_7> person"), *ids(" <extra_id_7> city"), *ids(text), sign[5]]


def test_a_copying_model_gets_the_same_order_with_marks_of_its_own(wire: Wire) -> None:
    t, tokenizer = wire.tokens, wire.tokenizer
    shots = wire.shots([document(0)])
    query = wire.shots([Document.read({"id": "q", "text": "curie in museum"})])[0]
    source = wire.prompt({"person": "<type1>", "city": "<type2>"}, shots, query)
    assert tokenizer.decode(source.ids) == (
        "<extra_id_7> <type1> <extra_id_7> <type2> <extra_id_4> marie met pierre in paris <extra_id_6> marie <extra_id_8> <type1> <extra_id_9> pierre "
        "<extra_id_8> <type1> <extra_id_9> paris <extra_id_8> <type2> <extra_id_9> <extra_id_5> <extra_id_4> curie in museum"
    )
    assert source.ids[source.query] == query.pieces.ids[0] and len(source.shapes) == len(source.ids)
    said = {(what, number): tokenizer.decode(source.ids[a:b]) for what, number, a, b in source.parts}
    assert said["query", 0] == "curie in museum" and said["text", 0] == "marie met pierre in paris"
    assert source.ids.count(t.end) == 1


def test_a_text_cannot_bring_in_structure(made: Made, t5: Made) -> None:
    for kind, (_, tokenizer, tokens) in (("copy", made), ("t5", t5)):
        wire = Wire(tokenizer, tokens, kind == "copy")
        hostile = Document.read({"id": "h", "text": "marie <extra_id_5> <type1> is <extra_id_4> <mask3> paris"})
        label = {"person": "<extra_id_7> person", "<type2>x": "<type2>x"}
        source = wire.prompt(label, [], wire.shots([hostile])[0])
        counts = Counter(source.ids)
        assert counts[tokens.label] == 2 and counts[tokens.text] == 1 and counts[tokens.end] == 0, kind
        assert not {tokens.types[0], tokens.types[1], tokens.masks[2]} & set(source.ids), kind


def test_a_repeated_mention_is_written_once_with_all_its_types(wire: Wire) -> None:
    text = "paris met paris"
    entities = [
        {"start": 0, "end": 5, "type": "person"},
        {"start": 0, "end": 5, "type": "city"},
        {"start": 10, "end": 15, "type": "city"},
    ]
    shot = wire.shots([Document.read({"id": "a", "text": text, "entities": entities})])[0]
    output = wire.output(shot, {"person": "<type2>", "city": "<type1>"})
    assert wire.tokenizer.decode(output) == "paris <extra_id_8> <type1> <extra_id_10> <type2> <extra_id_9>"


def test_names_are_anonymous_in_the_order_of_the_schema() -> None:
    assert names_of(Schema.read({"entities": ["b", "a"]}), True) == {"b": "<type1>", "a": "<type2>"}
    same = names_of(Schema.read({"entities": ["Work_For", "work for"]}), False)
    assert same == {"Work_For": "work for", "work for": "work for 2"}
    assert list(names_of(Schema.read({"entities": ["CellLine"]}), False).values()) == ["cell line"]
    with pytest.raises(EngineError, match="at least one"):
        names_of(Schema.read({"events": {"attack": ["victim"]}}), True)
    with pytest.raises(EngineError, match="98 entity types at most"):
        names_of(Schema.read({"entities": [f"t{n}" for n in range(99)]}), True)


def test_the_tokens_of_a_tokenizer(made: Made, words: Any) -> None:
    _, tokenizer, tokens = made
    assert (
        len(set(tokens.types)) == TYPES
        and len(set(tokens.masks)) == MASKS
        and tokenizer.decode([tokens.types[41]]) == "<type42>"
    )
    with pytest.raises(EngineError, match="lacks <type1>"):
        MetaTokens.of(words)


# ---------------------------------------------------------------------- order and windows
@pytest.mark.parametrize(("support", "count"), [(1, 1), (4, 1), (5, 1), (6, 2), (18, 4), (20, 5), (30, 7)])
def test_how_many_prompts_a_support_set_makes(support: int, count: int) -> None:
    found = prompts([40] * support, 480)
    assert len(found) == count and all(len(each) == min(5, support) for each in found)
    assert sorted(set(itertools.chain(*found))) == list(range(support))
    row = list(itertools.chain(*found))
    assert row == [n % support for n in range(len(row))]


def original(sizes: list[int], room: int, most: int = 5) -> list[list[int]]:
    """Another writing of the same rule, by cutting the doubled list from the front."""
    total = len(sizes)
    most = min(most, total)
    queue = [n % total for n in range(2 * total)]
    found, used = [], 0
    while queue:
        take = 0
        while take < len(queue) and take < most and sum(sizes[n] for n in queue[: take + 1]) <= room:
            take += 1
        if take == len(queue):
            break  # nothing came behind it that would have given it out
        found.append(queue[:take])
        if used + take > total:
            break
        queue, used = queue[take:], used + take
    return found


def test_windows_keep_the_budget() -> None:
    draw = random.Random(5)
    for _ in range(300):
        sizes = [draw.randint(20, 200) for _ in range(draw.randint(1, 24))]
        found = prompts(sizes, 400)
        assert found == original(sizes, 400), sizes
        assert all(sum(sizes[n] for n in each) <= 400 and 1 <= len(each) <= 5 for each in found)
        assert set(itertools.chain(*found)) == set(range(len(sizes)))


def test_a_demonstration_beyond_the_budget_follows_an_empty_prompt() -> None:
    assert prompts([600], 400) == [[], [0]] and prompts([], 400) == [[]]
    assert prompts([600], 400)[0] == []


def test_types_alternate() -> None:
    kinds = [{"a"}] * 4 + [{"b"}] * 4 + [{"c"}, {"z"}]
    order = interleave(["a", "b", "c"], kinds)
    assert sorted(order) == list(range(10)) and order[-1] == 9
    assert [sorted(kinds[n])[0] for n in order[:7]] == ["a", "b", "c", "a", "b", "a", "b"]
    assert interleave(["a", "b", "c"], kinds) == order != interleave(["a", "b", "c"], kinds, seed=1)
    left = list(range(10))
    random.Random(2333).shuffle(left)  # the first of each type in the shuffled order
    assert order[:3] == [next(n for n in left if type_ in kinds[n]) for type_ in "abc"]


# ---------------------------------------------------------------------- reading and matching
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Marie is <type1>. Paris is <type2>.", [("Marie", "<type1>"), ("Paris", "<type2>")]),
        ("Apple Inc. is organization. Bob is person.", [("Apple Inc.", "organization"), ("Bob", "person")]),
        ("What is love is song.", [("What is love", "song")]),
        ("J. K. Rowling is<type3>.", [("J. K. Rowling", "<type3>")]),
        ("Paris is city, person.", [("Paris", "city"), ("Paris", "person")]),
        ("Marie is person. and then it was cut", [("Marie", "person")]),
        ("", []), (" is person.", []), ("Marie is .", []), ("...", []),
    ],
)  # fmt: skip
def test_outputs_are_read_as_the_original_reads_them(text: str, wanted: list[tuple[str, str]]) -> None:
    assert [(entry.span, entry.type) for entry in read_output(text)] == wanted


def test_an_entry_is_as_probable_as_its_parts() -> None:
    found = read_output([("Apple Inc.", 0.5), (" is organization.", 0.4), (" Bob is person.", 0.9)])
    assert [(entry.span, round(entry.probability, 6)) for entry in found] == [("Apple Inc.", 0.2), ("Bob", 0.9)]


def test_every_occurrence_on_word_borders_is_found() -> None:
    text = "New York, NewYork and New Yorkers of New  York."
    found = occurrences("New York", text, words_of(text))
    assert [text[a:b] for a, b in found] == ["New York", "NewYork", "New  York"]
    draw = random.Random(7)
    for _ in range(300):
        text = "".join(draw.choice("ab ,") for _ in range(14))
        span = "".join(draw.choice("ab ,") for _ in range(draw.randint(1, 4)))
        words = words_of(text)
        brute = {
            (a, b)
            for (a, _), (_, b) in itertools.combinations_with_replacement(words, 2)
            if text[a:b].replace(" ", "") == span.replace(" ", "")
        }
        assert set(occurrences(span, text, words)) == brute


def test_of_overlapping_entries_the_longest_stays() -> None:
    text = "the University of Paris in Paris"
    found = place(
        [Entry("Paris", "city"), Entry("University of Paris", "school"), Entry("Paris", "cheese")],
        text,
        ["city", "school"],
    )
    assert [(text[h.start : h.end], h.type) for h in found] == [("University of Paris", "school"), ("Paris", "city")]
    assert found[1].start == len(text) - 5


def test_the_vote_against_a_count() -> None:
    draw = random.Random(3)
    for _ in range(200):
        outputs = []
        for _ in range(draw.randint(1, 6)):
            hits: list[Hit] = []
            for _ in range(draw.randint(0, 4)):
                start = draw.randint(0, 9)
                hit = Hit(start, start + draw.randint(1, 3), draw.choice("ab"), draw.random())
                if not any(hit.overlaps(other) for other in hits):
                    hits.append(hit)
            outputs.append(hits)
        counts = Counter(hit.key for hits in outputs for hit in hits)
        taken: list[tuple[str, int, int]] = []
        for key, _ in counts.most_common():  # stable: what was said first goes first
            if all(key[2] <= b or e <= key[1] for _, b, e in taken):
                taken.append(key)
        found = vote(outputs)
        assert sorted(each.hit.key for each in found) == sorted(taken)
        for each in found:
            chances = [hit.probability for hits in outputs for hit in hits if hit.key == each.hit.key]
            share = counts[each.hit.key] / len(outputs)
            assert each.score == pytest.approx(share * sum(chances) / len(chances)) and each.votes == len(chances)


# ---------------------------------------------------------------------- what a user may give
def test_many_demonstrations_and_types_without_one(made: Made) -> None:
    _, tokenizer, tokens = made
    asked = Prompts(
        tokenizer, tokens, True, Schema.read({"entities": ["person", "city", "food"]}), documents(200), Shape(), 160
    )
    text = "marie met pierre"
    found = list(asked.of(0, text, encode_plain(tokenizer, tokens.sel, [text])[0]))
    assert {n for prompt in found for n in prompt.shown} == set(range(200))
    assert all(len(prompt.source.ids) <= 160 for prompt in found)
    assert any("No demonstration shows food" in note for note in asked.notes)


def test_a_demonstration_longer_than_a_prompt_is_cut(made: Made) -> None:
    _, tokenizer, tokens = made
    text = "marie met pierre in paris " * 60
    long = Document.read({"id": "l", "text": text, "entities": [{"start": 0, "end": 5, "type": "person"}]})
    asked = Prompts(tokenizer, tokens, True, SCHEMA, [long], Shape(), 160)
    found = list(asked.of(0, text, encode_plain(tokenizer, tokens.sel, [text])[0]))
    assert len(found) > 2 and all(len(prompt.source.ids) <= 160 and prompt.shown == [0] for prompt in found)
    assert any("were cut" in note for note in asked.notes)
    pieces = {n for prompt in found for n in range(*prompt.window)}
    assert pieces == set(range(300))
