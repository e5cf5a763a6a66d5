"""Of a mention and the same with the emoji beside it the better reading stays, and what hangs on the other hangs on it."""

from __future__ import annotations

from workbench.extract import load_engine
from workbench.extract.usm.passes import Found
from workbench.extract.usm.trim import one_reading

TEXT = "Ada😀 met 🎉 Bo 👍🏽 in Rome"  # Ada 0-3, with its emoji 0-4; Bo 11-13, alone between two others; Rome 20-24
ADA, ADA_AND, PARTY, BO, AND_BO, BO_AND, ROME = (0, 3), (0, 4), (9, 10), (11, 13), (9, 13), (11, 16), (20, 24)


def test_the_places_are_what_they_are_said_to_be() -> None:
    said = {ADA: "Ada", ADA_AND: "Ada😀", PARTY: "🎉", BO: "Bo", AND_BO: "🎉 Bo", BO_AND: "Bo 👍🏽", ROME: "Rome"}
    assert {at: TEXT[slice(*at)] for at in said} == said


def test_the_better_of_two_readings_stays() -> None:
    given = {
        ("person", *ADA): 3.0, ("person", *ADA_AND): 1.0,  # the usual case
        ("person", *BO): 1.0, ("person", *AND_BO): 1.0, ("person", *BO_AND): 2.0,  # as good before, better behind
        ("place", *ADA_AND): 0.5,  # found with it only
        ("mood", *PARTY): 1.0,  # nothing but an emoji
        ("place", *ROME): 1.0,
    }  # fmt: skip
    gone = {("person", *ADA_AND), ("person", *AND_BO)}
    found = one_reading(Found(entities=dict(given), triggers=dict(given)), TEXT)
    assert found.entities == found.triggers == {key: value for key, value in given.items() if key not in gone}


def test_relations_move_to_the_mention_that_stays() -> None:
    found = Found(
        entities={("person", *ADA): 3.0, ("person", *ADA_AND): 1.0, ("person", *BO): 2.0, ("person", *AND_BO): 1.0},
        relations={
            ("knows", ADA, BO): 1.0, ("knows", ADA_AND, BO): 2.0, ("likes", AND_BO, ADA_AND): 0.5, ("likes", ADA, ROME): 0.1,
        },
    )  # fmt: skip
    kept = one_reading(found, TEXT)
    assert kept.relations == {("knows", ADA, BO): 2.0, ("likes", BO, ADA): 0.5, ("likes", ADA, ROME): 0.1}


def test_a_relation_stays_where_another_label_keeps_its_mention() -> None:
    found = Found(
        entities={("person", *ADA): 3.0, ("person", *ADA_AND): 1.0, ("brand", *ADA_AND): 1.0},
        relations={("sells", ADA_AND, ROME): 1.0},
    )
    assert one_reading(found, TEXT).relations == found.relations


def test_arguments_follow_their_trigger_and_have_one_filler() -> None:
    trigger, second = ("meet", *BO), ("meet", *BO_AND)
    found = Found(
        triggers={trigger: 2.0, second: 1.0},
        arguments={(second, "who", ADA): 1.0, (trigger, "who", ADA_AND): 0.5, (trigger, "where", ROME): 1.0},
    )
    kept = one_reading(found, TEXT)
    assert kept.triggers == {trigger: 2.0}
    assert kept.arguments == {(trigger, "who", ADA): 1.0, (trigger, "where", ROME): 1.0}


def test_without_emoji_nothing_is_touched() -> None:
    found = Found(entities={("person", 0, 3): 1.0, ("person", 0, 4): 0.5})
    assert one_reading(found, "Ada met Bo") is found


def test_as_shipped() -> None:
    """usm-mini found each of these names a second time with its emoji."""
    text = "Anna Schmidt😀 met Barack Obama🎉🎉 in Paris👍."
    found = load_engine("usm").extract([text], {"entities": ["person", "location"]})[0]
    assert {text[span.start : span.end] for span in found.entities} == {"Anna Schmidt", "Barack Obama", "Paris"}
