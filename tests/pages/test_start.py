"""The Start page: what is at hand, how it is opened, and what is said when it cannot be."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import cards
from tests.capture_factory import make_capture
from tests.pages.conftest import Dashboard
from workbench import session
from workbench.capture import Capture

Words = Callable[[AppTest], str]


def test_empty_library_says_what_to_do(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open()
    assert not app.exception
    assert "No capture is at hand yet" in words(app)
    assert (
        app.button(key="start.way.routing").disabled and "make or open one" in app.button(key="start.way.routing").help
    )


def test_device_and_memory_are_named(dashboard: Dashboard, words: Words) -> None:
    assert "processor core" in words(dashboard.open()) and "memory free" in words(dashboard.open())


def test_the_way_to_a_smaller_model_opens_the_elastic_page(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open()
    app.button(key="start.way.smaller").click().run()
    assert not app.exception and "How small can I go, at what price?" in words(app)


def test_the_way_to_extraction_opens_its_page(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open()
    app.button(key="start.way.extraction").click().run()
    assert not app.exception and app.title[0].value == "What does this text say, in my schema?"


def test_card_shows_model_groups_and_n(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("mine", make_capture(3, 8, 2, [120, 80], notes="my *own* words"))
    app = dashboard.open()
    said = words(app)
    assert not app.exception
    for expected in (
        "**mine**",
        "synthetic/moe",
        "3 layers of 8 experts, 2 chosen",
        "2 groups: Text, Image und\\.",
        "n = 200 tokens in 5 documents",
    ):
        assert expected in said, expected
    assert "my \\*own\\* words" in said  # the user's signs are words, not Markdown
    assert app.button(key=f"start.open.{place.id}")


def test_thumbnail_is_a_picture_of_the_load(dashboard: Dashboard) -> None:
    from PIL import Image

    from pages.parts.thumbnail import HEIGHT, WIDTH, draw

    image = Image.open(io.BytesIO(draw(make_capture(2, 4, 1, 100))))
    assert image.size == (WIDTH, HEIGHT)
    assert len(image.convert("RGB").getcolors() or []) > 2


def test_open_leads_to_routing_of_that_capture(dashboard: Dashboard) -> None:
    dashboard.put("first", make_capture(2, 4, 1, 20))
    place = dashboard.put("second", make_capture(3, 8, 2, 20, seed=1))
    app = dashboard.open()
    app.button(key=f"start.open.{place.id}").click().run()
    assert not app.exception
    assert app.title[0].value == "Which experts take which tokens?"
    assert app.query_params["capture"] == place.id and any("second" in caption.value for caption in app.caption)


def test_broken_capture_is_listed_with_its_fault(dashboard: Dashboard, words: Words) -> None:
    dashboard.put("whole", make_capture(2, 4, 1, 20))
    (dashboard.library / "cut").mkdir()
    (dashboard.library / "cut" / "manifest.json").write_text('{"schema_version": "1.0", "sites": [')
    app = dashboard.open()
    assert not app.exception
    assert "not complete JSON" in words(app) and "**whole**" in words(app)


def test_newer_schema_is_refused_in_a_sentence(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("new", make_capture(2, 4, 1, 20))
    file = place.path / "manifest.json"
    file.write_text(file.read_text().replace('"schema_version": "1.0"', '"schema_version": "9.0"'))
    app = dashboard.open()
    assert not app.exception and "update the workbench" in words(app)


def test_rename_keeps_the_link(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("old-name", make_capture(2, 4, 1, 20))
    app = dashboard.open()
    app.text_input(key=f"start.name.{place.id}").input("new-name")
    _submit(app, "Rename")
    assert not app.exception and "**new\\-name**" in words(app)
    assert session.find(place.id) is not None and session.find(place.id).name == "new-name"  # type: ignore[union-attr]


def test_rename_to_a_wrong_name_is_refused_in_a_sentence(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("old-name", make_capture(2, 4, 1, 20))
    app = dashboard.open()
    app.text_input(key=f"start.name.{place.id}").input("a/../b")
    _submit(app, "Rename")
    assert not app.exception and "consists of letters" in words(app)
    assert (dashboard.library / "old-name").is_dir()


def test_notes_are_saved_and_the_link_stays(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("mine", make_capture(2, 4, 1, 20))
    app = dashboard.open()
    app.text_area(key=f"start.notes.{place.id}").input("seen on Monday")
    _submit(app, "Save notes")
    assert not app.exception and "seen on Monday" in words(app)
    assert Capture.load(dashboard.library / "mine").manifest.notes == "seen on Monday"
    assert session.find(place.id) is not None


def test_delete_asks_first(dashboard: Dashboard) -> None:
    place = dashboard.put("mine", make_capture(2, 4, 1, 20))
    app = dashboard.open()
    app.button(key=f"start.delete.{place.id}").click().run()
    assert (dashboard.library / "mine").is_dir()
    app.button(key="start.delete.no").click().run()
    assert (dashboard.library / "mine").is_dir()
    app.button(key=f"start.delete.{place.id}").click().run()
    app.button(key="start.delete.yes").click().run()
    assert not app.exception and not (dashboard.library / "mine").exists()


def test_shipped_captures_are_not_renamed_or_deleted(dashboard: Dashboard) -> None:
    make_capture(2, 4, 1, 20).save(dashboard.samples / "ready")
    app = dashboard.open()
    assert app.button(key="start.open.sample-ready")
    assert not [button for button in app.button if "delete" in (button.key or "")]


def test_folder_elsewhere_is_opened_where_it_lies(dashboard: Dashboard, words: Words) -> None:
    outside = make_capture(2, 4, 1, 20).save(dashboard.library.parent.parent / "elsewhere" / "far")
    app = dashboard.open()
    app.text_input(key="start.path").input(f"  {outside} ")
    _submit(app, "Open folder")
    assert not app.exception and app.title[0].value == "Which experts take which tokens?"
    identity = app.query_params["capture"]
    assert identity.startswith("folder-") and "far" not in identity and "elsewhere" not in identity
    assert not dashboard.library.exists() or not any(dashboard.library.iterdir())
    fresh = dashboard.open("routing", capture=identity)
    assert any("far" in caption.value for caption in fresh.caption)
    start = dashboard.open()
    start.button(key=f"start.forget.{identity}").click().run()
    assert session.find(identity) is None and outside.is_dir()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("", "field is empty"), ("/no/such/folder", "nothing is there"), ("{tmp}", "no manifest\\.json")],
)
def test_wrong_folder_is_a_sentence(dashboard: Dashboard, words: Words, typed: str, sentence: str) -> None:
    app = dashboard.open()
    app.text_input(key="start.path").input(typed.replace("{tmp}", str(dashboard.samples)))
    _submit(app, "Open folder")
    assert not app.exception and sentence in words(app)


def test_upload_goes_to_the_library_and_opens(dashboard: Dashboard) -> None:
    capture = make_capture(2, 4, 1, 20)
    file = capture.save(dashboard.samples.parent / "sent.capture.zip")
    app = dashboard.open()
    app.file_uploader(key="start.upload").upload("sent.capture.zip", file.read_bytes(), "application/zip").run()
    assert not app.exception and (dashboard.library / "sent" / "manifest.json").is_file()
    assert app.title[0].value == "Which experts take which tokens?"


def test_broken_uploads_are_sentences_and_leave_nothing(dashboard: Dashboard, words: Words) -> None:
    whole = make_capture(2, 4, 1, 20).save(dashboard.samples.parent / "whole.capture.zip").read_bytes()
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("../escape.txt", "x")
    for content, sentence in (
        (b"no zip at all", "not a whole zip"),
        (whole[: len(whole) // 2], "not a whole zip"),
        (foreign.getvalue(), "not a capture"),
    ):
        app = dashboard.open()
        app.file_uploader(key="start.upload").upload("bad.capture.zip", content, "application/zip").run()
        assert not app.exception and sentence in words(app), sentence
        assert "bad\\.capture\\.zip" in words(app) and "upload" not in "".join(error.value for error in app.error)
        assert not dashboard.library.exists() or not any(dashboard.library.iterdir())


def test_archive_for_download_opens_again(dashboard: Dashboard, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = dashboard.put("mine", make_capture(2, 4, 2, 60))
    for text in (True, False):
        file = tmp_path_factory.mktemp("zip") / "mine.capture.zip"
        file.write_bytes(cards.archive(place, text=text))
        loaded = Capture.load(file)
        assert (loaded.count == session.open_capture(place).count).all()
        assert ("piece" in loaded.tokens["text"].column_names) == text  # type: ignore[index]


def test_capture_that_vanishes_meanwhile_is_no_crash(dashboard: Dashboard) -> None:
    place = dashboard.put("mine", make_capture(2, 4, 1, 20))
    app = dashboard.open()
    shutil.rmtree(place.path)
    app.button(key=f"start.open.{place.id}").click().run()
    assert not app.exception


def test_start_and_routing_need_no_torch(dashboard: Dashboard) -> None:
    """Asked of a process of its own in the browser tests; here: this page's modules name it nowhere they run."""
    before = "torch" in sys.modules
    dashboard.put("mine", make_capture(2, 4, 2, 60))
    assert not dashboard.open().exception and not dashboard.open("routing").exception
    assert ("torch" in sys.modules) == before


def _submit(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
