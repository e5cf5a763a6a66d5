"""Extract in a real browser: marks on a text with emoji and HTML, words selected and corrected, a file out, the link."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import WAIT, Server, settle, start_server
from tests.extract.conftest import PLUGIN

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
TEXT = "👩‍🔬 Ada <img src=x onerror=document.title=1> met Bo"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard in whose Python the rule engine of the tests is an installed plug-in."""
    base = tmp_path_factory.mktemp("extract")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(PLUGIN)
    try:
        process, url = start_server(base / "home", base / "server.log")
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    yield Server(url, process, base / "home", {}, base / "server.log")
    process.terminate()
    process.wait(20)


@pytest.fixture
def page(rules: Server, chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1500, "height": 1400}, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(WAIT)
    tab.goto(f"{rules.url}/extract?engine=rules")
    settle(tab)
    yield tab
    context.close()


def run(page: Any, text: str) -> None:
    box = page.get_by_role("textbox", name="Text", exact=True)
    box.fill(text)
    box.press("Control+Enter")
    settle(page)
    page.get_by_role("button", name="Extract", exact=True).click()
    page.locator(".wb-marked .chip").first.wait_for()
    settle(page)


def saved(page: Any, button: str) -> bytes:
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name=button, exact=True).first.click()
    return Path(download.value.path()).read_bytes()


def test_marks_evidence_correction_and_files(page: Any, rules: Server) -> None:
    run(page, TEXT)
    marked = page.locator(".wb-marked").first
    assert marked.locator("img").count() == 0
    assert marked.locator("span.on").all_inner_texts() == ["Ada", "Bo"]
    assert page.title() != "1"

    marked.locator("span.on").first.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Why “Ada: person”?", exact=False).wait_for()
    settle(page)
    assert marked.locator("span.picked").all_inner_texts() == ["Ada"]
    page.get_by_role("button", name="Close").click()
    settle(page)

    found = json.loads(saved(page, "JSON"))
    assert [found["text"][s["start"] : s["end"]] for s in found["entities"]] == ["Ada", "Bo"]
    html = saved(page, "HTML").decode()
    assert "<img" not in html and "&lt;img" in html and "<script" not in html

    page.get_by_role("button", name="Correct", exact=True).click()
    settle(page)
    draft = page.locator(".wb-marked").last
    words = draft.get_by_text("met", exact=False).last
    select(words, "met")
    page.get_by_text("“met” is", exact=False).wait_for()
    page.get_by_role("button", name="Add", exact=True).click()
    settle(page)
    page.get_by_role("button", name="Keep as gold", exact=True).click()
    settle(page)
    page.get_by_text("Kept: 1 gold", exact=False).click()
    settle(page)
    kept = json.loads(page_download(page, "extract.kept.gold.download"))
    start = TEXT.index("met")
    assert {"start": start, "end": start + 3, "type": "person"} in kept["entities"]
    assert "Ada" not in page.url


def select(piece: Any, wanted: str) -> None:
    """Select words in a piece of the marked text as a mouse does."""
    piece.evaluate(
        """(node, wanted) => {
            const text = [...node.childNodes].find((child) => child.nodeType === Node.TEXT_NODE), at = text.data.lastIndexOf(wanted);
            const range = document.createRange();
            range.setStart(text, at); range.setEnd(text, at + wanted.length);
            const tree = node.getRootNode(), selection = (tree.getSelection ? tree : document).getSelection();
            selection.removeAllRanges(); selection.addRange(range);
            node.closest(".wb-marked").dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
        }""",
        wanted,
    )


def page_download(page: Any, key: str) -> bytes:
    with page.expect_download(timeout=WAIT) as download:
        page.locator(f".st-key-{key.replace('.', '-')} button").click()
    return Path(download.value.path()).read_bytes()


def test_an_example_is_marked_with_the_mouse(page: Any) -> None:
    box = page.get_by_role("textbox", name="A sentence as an example", exact=True)
    box.fill("👩‍🔬 Ada met Bo")
    box.press("Control+Enter")
    settle(page)
    page.get_by_role("button", name="Mark it", exact=True).click()
    settle(page)
    words = page.locator(".st-key-extract-shots-text-box .wb-marked").get_by_text("met", exact=False).last
    select(words, "met")
    page.get_by_placeholder("met", exact=True).wait_for()
    page.get_by_role("button", name="Mark", exact=True).click()
    settle(page)
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_text("Kept: 0 gold, 1 demonstration", exact=False).wait_for()
    kept = json.loads(page_download(page, "extract.shots.download"))
    start = kept["text"].index("met")
    assert kept["entities"] == [{"start": start, "end": start + 3, "type": "person"}]


def test_nothing_is_cut_or_covered(page: Any) -> None:
    run(page, TEXT)
    assert page.locator(".st-key-extract-labels").bounding_box()["width"] > 300, "a chosen type is cut to dots"
    page.get_by_role("button", name="Correct", exact=True).click()
    settle(page)
    table = page.locator(".st-key-extract-draft-table").bounding_box()
    page.mouse.move(table["x"] + table["width"] - 40, table["y"] + 60)  # its tools appear above it
    tools = page.locator('.st-key-extract-draft-table [data-testid="stElementToolbarButtonContainer"]')
    tools.wait_for()
    above = page.get_by_text("No two entities here have types", exact=False).bounding_box()  # where else Join stands
    assert tools.bounding_box()["y"] >= above["y"] + above["height"], "the tools of the table lie over what is above it"


def test_each_line_runs_in_the_direction_of_its_script(page: Any) -> None:
    run(page, "שלום Ada אמר Bo\nAda met Bo")
    words = page.locator(".wb-marked").first.locator("span.on")
    assert words.all_inner_texts() == ["Ada", "Bo", "Ada", "Bo"]
    left = [words.nth(n).bounding_box()["x"] for n in range(4)]
    assert left[0] > left[1], "a line of Hebrew runs from the right, whatever labels stand in it"
    assert left[2] < left[3]
    box = page.locator(".wb-marked").first.bounding_box()
    assert left[0] > box["x"] + box["width"] / 2 > left[2]


def test_a_file_of_texts(page: Any, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text('id,body\na,Ada met Bo\nb,"no one, really"\n')
    page.get_by_text("Many texts", exact=True).click()
    settle(page)
    page.locator('.st-key-extract-batch-file input[type="file"]').set_input_files(tmp_path / "texts.csv")
    settle(page)
    column = page.get_by_role("textbox", name="Text column", exact=True)
    column.fill("body")
    column.press("Enter")
    settle(page)
    page.get_by_role("button", name="Extract from all", exact=True).click()
    page.get_by_text("2 texts: 2 entities", exact=False).wait_for()
    rows = [json.loads(line) for line in page_download(page, "extract.batch.jsonl").splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]


def test_a_batch_shows_how_far_it_is_and_keeps_what_was_done(page: Any, tmp_path: Path) -> None:
    many = 2_000  # seven minutes of them: no machine is done before Cancel is pressed
    (tmp_path / "texts.csv").write_text("id,text\n" + "".join(f"{n},SLOW met Bo\n" for n in range(many)))
    page.get_by_text("Many texts", exact=True).click()
    settle(page)
    page.locator('.st-key-extract-batch-file input[type="file"]').set_input_files(tmp_path / "texts.csv")
    settle(page)
    page.get_by_role("button", name="Extract from all", exact=True).click()
    main = page.locator('[data-testid="stMain"]')
    # Any count will do, then a greater one: which of them a page that looks once a second shows is the machine's matter.
    shown = "() => +(/Extracting: ([\\d,]+) of 2,000/.exec(document.querySelector('[data-testid=stMain]').innerText) || [0, '0'])[1].replace(',', '')"
    early = page.wait_for_function(shown).json_value()
    # The page itself moves on, not only the list of jobs.
    page.wait_for_function(f"early => ({shown})() > early", arg=early)
    page.locator(".st-key-extract-batch-cancel button").first.click()
    said = main.get_by_text("It was stopped early; what was done is here.", exact=False)
    said.wait_for()
    settle(page)
    done = int(said.inner_text().split(" ")[0].replace(",", ""))
    rows = [json.loads(line) for line in page_download(page, "extract.batch.jsonl").splitlines()]
    assert early < done < many and [row["id"] for row in rows] == [str(n) for n in range(done)]


def test_evaluate_lists_errors(page: Any, rules: Server) -> None:
    page.goto(f"{rules.url}/evaluate")
    settle(page)
    page.get_by_text("Stored: usm").wait_for()  # an evaluation is there at once
    page.get_by_text("New evaluation", exact=True).click()
    page.get_by_role("button", name="Evaluate", exact=True).wait_for()
    box = page.get_by_role("combobox", name="Engine", exact=True)
    box.fill("Rules")
    box.press("Enter")
    settle(page)
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.wait_for_url("**run=*")
    page.get_by_text("Stored: usm").wait_for(state="detached")  # it lists errors too
    page.get_by_text("Where it is wrong").wait_for()
    page.get_by_text("gold:", exact=False).first.wait_for()
