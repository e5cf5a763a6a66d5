"""The Elastic page: the answer, the choices and the address; the jobs behind it on a tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import elastic_jobs
from tests.elastic.curve_factory import save_curve
from tests.pages.conftest import ROOT, Dashboard
from tests.tiny_model import save_model
from workbench import session
from workbench.analysis.curve import curve_table, load_curve
from workbench.capture.library import Library
from workbench.elastic import places
from workbench.elastic.errors import SweepError
from workbench.elastic.journal import write_json
from workbench.elastic.places import Order, curve_places, keep_order, read_order, unfinished
from workbench.jobs import JobList, Snapshot, Task

Words = Callable[[AppTest], str]


@pytest.fixture
def curves(dashboard: Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's sweeps; no shipped ones."""
    monkeypatch.setattr(places, "SAMPLES", tmp_path / "no samples")
    return tmp_path / "home" / "sweeps"


def box(app: AppTest, key: str) -> Any:
    return next(one for one in app.selectbox if one.key == key)


def test_without_a_curve_the_page_says_what_to_do(dashboard: Dashboard, curves: Path, words: Words) -> None:
    app = dashboard.open("elastic")
    assert not app.exception
    assert "No curve is at hand yet: start a sweep below" in words(app) and "New sweep" in words(app)


def test_the_answer_stands_first_and_is_right(dashboard: Dashboard, curves: Path, words: Words) -> None:
    save_curve(curves / "mine")
    app = dashboard.open("elastic", cost="decode_ms_p50")
    assert not app.exception
    # The whole model takes 10 ms; within 5 ms: 2 layers with one expert (5 ms, loss 3.1), one layer with two (4 ms, 3.5).
    assert (
        "At 50% of the whole model's time to write a token, the best sub-model is **2 of 4 layers, 2 of 2 experts a layer"
        in words(app)
    )
    assert "loss 3.10 instead of 2.00, 1.10 worse" in words(app)
    assert "n \\= 4 documents" in words(app).replace("n = 4", "n \\= 4") and "8 timed with weights gathered" in words(
        app
    )


def test_choices_stand_in_the_address_and_come_back(dashboard: Dashboard, curves: Path, words: Words) -> None:
    save_curve(curves / "mine")
    app = dashboard.open("elastic")
    box(app, "elastic.cost").set_value("bytes_stored").run()
    box(app, "elastic.group").set_value(2).run()
    box(app, "elastic.measure").set_value(1).run()
    assert not app.exception
    address = {name: value[0] if isinstance(value, list) else value for name, value in app.query_params.items()}
    assert {name: address[name] for name in ("cost", "group", "measure")} == {
        "cost": "bytes_stored",
        "group": "2",
        "measure": "1",
    }
    again = dashboard.open("elastic", **address)
    assert (
        not again.exception
        and box(again, "elastic.cost").value == "bytes_stored"
        and box(again, "elastic.group").value == 2
    )
    assert "better" in words(again) or "worse" in words(again)


def test_a_chosen_point_shows_its_numbers(dashboard: Dashboard, curves: Path) -> None:
    folder = save_curve(curves / "mine")
    table = curve_table(load_curve(folder), "decode_ms_p50")
    app = dashboard.open("elastic", cost="decode_ms_p50")
    wanted = table.names.index("layers=first:3 top_k=1")
    box(app, "elastic.sub_model").set_value(wanted).run()
    assert not app.exception
    numbers = app.dataframe[0].value.set_index("")["this sub-model"]
    assert numbers["Layers"] == "first:3 (3)" and numbers["A written token, median"] == "7 ms [6.8, 7.2]"
    assert app.dataframe[1].value["95 % interval"].iloc[0] == "2.550 to 2.650"
    linked = dashboard.open(
        "elastic", **{name: one[0] if isinstance(one, list) else one for name, one in app.query_params.items()}
    )
    assert box(linked, "elastic.sub_model").value == wanted


def test_a_curve_without_times_says_so_and_an_unknown_link_too(
    dashboard: Dashboard, curves: Path, words: Words
) -> None:
    save_curve(curves / "mine", timed=False)
    app = dashboard.open("elastic", curve="mine-000000000000")
    assert not app.exception
    assert "another one is shown" in words(app) and "none timed" in words(app) and "No time and no memory" in words(app)
    assert "decode_ms_p50" not in box(app, "elastic.cost").options


def test_a_damaged_curve_is_one_sentence(dashboard: Dashboard, curves: Path, words: Words) -> None:
    (save_curve(curves / "mine") / "curve.parquet").write_bytes(b"not a table")
    app = dashboard.open("elastic")
    assert not app.exception and "cannot be read as a curve" in words(app).replace("\\", "")


def test_a_finished_sweep_is_opened_and_another_one_is_not(dashboard: Dashboard, curves: Path, words: Words) -> None:
    app = dashboard.open("elastic")
    save_curve(curves / "old")
    app.run()
    assert "another" not in words(app) and box(app, "elastic.id").options == ["old"]
    ended = {}
    for name, state in (("broken", False), ("fresh", True)):

        def work(task: Task, name: str = name, fine: bool = state) -> Path:
            save_curve(curves / name)
            if not fine:
                raise SweepError("The disk was full.")
            return curves / name

        job = session.jobs().start(f"Sweep {name}", work)
        assert job.wait(60).state == ("done" if state else "failed")
        ended[name] = job.id
    app.session_state["elastic.jobs"] = ended
    app.run()
    assert not app.exception and app.session_state["elastic.jobs"] == {}
    own = {place.name: place.id for place in curve_places()}
    assert box(app, "elastic.id").value == own["fresh"] and "fresh" in next(one.value for one in app.toast)
    box(app, "elastic.id").set_value(own["old"]).run()  # and it is opened once only
    assert box(app, "elastic.id").value == own["old"]


def test_the_unit_of_the_quality_is_that_of_the_texts_shown(dashboard: Dashboard) -> None:
    app = dashboard.open("elastic", curve="sample-omni-mini")
    groups = box(app, "elastic.group").options
    assert box(app, "elastic.measure").options[0] == "Loss (nats a prediction)"
    for group, unit in (("Image gen.", "nats a bit"), ("Text", "nats a token")):
        box(app, "elastic.group").set_value(groups.index(group)).run()
        assert not app.exception and box(app, "elastic.measure").options[0] == f"Loss ({unit})"


def test_names_of_groups_are_escaped(dashboard: Dashboard, curves: Path, words: Words) -> None:
    save_curve(curves / "mine", group="<b>x</b> *y*")
    app = dashboard.open("elastic", group=1)
    assert not app.exception and "\\<b\\>x" in words(app)


def test_a_grid_that_cannot_be_read_blocks_the_start(dashboard: Dashboard, curves: Path, words: Words) -> None:
    app = dashboard.open("elastic")
    next(one for one in app.text_input if one.key == "elastic.new.layers").set_value("first:0").run()
    start = next(one for one in app.button if one.key == "elastic.new.start")
    assert start.disabled and "zero layers were asked for" in words(app)


def test_the_page_draws_without_torch(tmp_path: Path) -> None:
    save_curve(tmp_path / "home" / "sweeps" / "mine")
    code = (
        "import sys, os\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=120).run()\napp.switch_page('pages/elastic.py').run()\n"
        "assert not app.exception, app.exception\nprint(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300, check=True,
        env=os.environ | {"WORKBENCH_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.stdout.strip().endswith("[]")


# ------------------------------------------------------------------ jobs
TEXTS = {
    "a.txt": "the cat sat on a mat and the dog ran fast",
    "b.txt": "hello there how are you fine thanks",
    "c.txt": "a dog sat on the cat",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def finished(work: Callable[[Task], Any], *, stop: bool = False) -> Snapshot:
    jobs = JobList()
    job = jobs.start("work", work)
    if stop:
        job.cancel()
    return job.wait(300)


def order_of(model: Path, name: str = "trial") -> Path:
    order = Order(
        name,
        str(model),
        ("all", "first:1"),
        ("all", "share:0.5:mass"),
        ("1",),
        group_by="file",
        calibrate_every=3,
        rounds=1,
        max_length=16,
        shipped=False,
        files=tuple(TEXTS),
    )
    return keep_order(order, [(file, text.encode()) for file, text in TEXTS.items()])


def test_an_order_is_swept_and_goes(home: Path, tmp_path: Path) -> None:
    folder = order_of(save_model(tmp_path / "model"))
    assert read_order(folder).layers == ("all", "first:1") and unfinished() == [folder]
    done = finished(lambda task: elastic_jobs.run_sweep(folder, task))
    assert done.state == "done", done.error
    assert not unfinished() and [place.name for place in curve_places(tmp_path / "none")] == ["trial"]
    curve = load_curve(done.result)
    assert len(curve.rows) == 5 and (curve.rows["measured"] == "gathered").all() and done.done == done.total


def test_the_routing_that_a_sweep_kept_opens_at_once(
    dashboard: Dashboard, curves: Path, tmp_path: Path, words: Words
) -> None:
    """Both heat maps without a model at hand, and the same captures on Compare."""
    folder = order_of(save_model(tmp_path / "model"))
    write_json(folder / "order.json", json.loads((folder / "order.json").read_text()) | {"captures": True, "rounds": 0})
    done = finished(lambda task: elastic_jobs.run_sweep(folder, task))
    assert done.state == "done", done.error
    shutil.rmtree(tmp_path / "model")
    app = dashboard.open("elastic")
    rows = load_curve(done.result).rows
    wanted = next(name for name in rows["sub_model"] if "share" in name)
    shown = curve_table(load_curve(done.result), "bytes_stored").names
    box(app, "elastic.sub_model").set_value(shown.index(wanted)).run()
    button = next(one for one in app.button if one.key == "elastic.routing")
    assert not button.disabled and next(one for one in app.button if one.key == "elastic.carve").disabled
    button.click().run()
    assert not app.exception and "The whole model: load of each expert" in words(app)
    kept = rows.set_index("sub_model")["capture"]
    pair = app.session_state["elastic.pair"]
    assert (pair.whole, pair.small) == tuple(done.result / "captures" / name for name in (kept["full"], kept[wanted]))
    at_hand = {place.path for place in session.places()}
    assert {pair.whole, pair.small} <= at_hand  # on the other pages too
    # Another sub-model's routing stands there as soon as it is chosen.
    other = next(name for name in rows["sub_model"] if name not in (wanted, "full"))
    box(app, "elastic.sub_model").set_value(shown.index(other)).run()
    assert app.session_state["elastic.pair"].small.name == kept[other] and not app.exception
    # Without one of the two it is recorded as before, for which the model must be at hand.
    shutil.rmtree(done.result / "captures" / kept["full"])
    app.run()
    assert next(one for one in app.button if one.key == "elastic.routing").disabled and not app.exception


def test_a_stopped_order_stays_and_goes_on(home: Path, tmp_path: Path) -> None:
    folder = order_of(save_model(tmp_path / "model"))

    class Stopping(Task):
        def progress(self, done: int, total: int | None = None, step: str | None = None) -> None:
            super().progress(done, total, step)
            if done >= 3:
                self._job.cancel()

    done = finished(lambda task: elastic_jobs.run_sweep(folder, Stopping(task._job)))
    assert done.state == "cancelled" and unfinished() == [folder]
    again = finished(lambda task: elastic_jobs.run_sweep(folder, task))
    assert again.state == "done" and not unfinished() and len(load_curve(again.result).rows) == 5


def test_a_pair_is_recorded_and_a_model_carved(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_model(tmp_path / "model")
    texts = tmp_path / "texts" / "pets"
    texts.mkdir(parents=True)
    for file, text in TEXTS.items():
        (texts / file).write_text(text)
    monkeypatch.setattr(elastic_jobs, "SHIPPED", texts.parent)
    exact = json.dumps({"layers": "0", "experts": "1,3", "top_k": 1})
    done = finished(lambda task: elastic_jobs.record_pair(str(model), exact, "layers=0", Library(), task))
    assert done.state == "done", done.error
    from workbench.capture import Capture

    whole, small = Capture.load(done.result.whole), Capture.load(done.result.small)
    assert {site.id for site in whole.sites} == {"text_0_mlp", "text_1_mlp"}
    count = small.count[small.site_index("text_0_mlp")].sum(axis=0)
    assert count[[0, 2]].sum() == 0 and count[[1, 3]].sum() > 0
    carved = finished(lambda task: elastic_jobs.carve_model(str(model), exact, "layers=0", task))
    assert carved.state == "done", carved.error
    names = zipfile.ZipFile(BytesIO(carved.result.archive)).namelist()
    assert f"{carved.result.name}/model.safetensors" in names and (carved.result.path / "config.json").is_file()
    stopped = finished(lambda task: elastic_jobs.carve_model(str(model), "{}", "full", task), stop=True)
    assert stopped.state == "cancelled"
