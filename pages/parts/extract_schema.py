"""The left side of Extract: the schema, as a form or as JSON, and the ready ones."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.extract_address import pack
from pages.parts.faults import in_words
from pages.parts.words import count
from workbench.extract import Document, Schema, SchemaError, read_documents
from workbench.extract.schema import MAX_BYTES, POLARITIES

FOLDER = Path(__file__).resolve().parents[2] / "sample_data" / "schemas"
OWN = "own"
MANY = 64  # labels above which the page says that more cost more
FORM_ROWS = 600  # above it the form is heavy, and JSON is offered alone
_P = "extract."
_FAULT = f"{_P}schema.file.fault"


@cache
def ready() -> dict[str, tuple[Schema, tuple[Document, ...]]]:
    """Ready schemas with their texts, by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        texts = path.with_name(f"{path.stem}.texts.jsonl")
        found[path.stem] = (Schema.load(path), tuple(read_documents(texts)) if texts.is_file() else ())
    return dict(sorted(found.items(), key=lambda item: item[0] != "news"))  # news first, then by name


def set_schema(schema: Schema, name: str = OWN) -> None:
    """Take a schema over into the editors."""
    state = st.session_state
    state[f"{_P}base"] = schema.to_json()
    state[f"{_P}revision"] = state.get(f"{_P}revision", 0) + 1
    state[f"{_P}ready"] = name
    state.pop(f"{_P}json", None)


def show_schema() -> Schema | None:
    """Draw the editor; returns the schema as it stands, or None while it is not one."""
    state = st.session_state
    names = list(ready())
    st.selectbox(
        "Ready schema", [*names, OWN], key=f"{_P}ready", format_func=lambda n: "My own" if n == OWN else n.capitalize(),
        on_change=_take_ready, help="A schema with three texts of ours to try it on.",
    )  # fmt: skip
    base: dict[str, Any] = state[f"{_P}base"]
    if _rows(base) > FORM_ROWS:
        state[f"{_P}editor"] = "JSON"
    view = st.segmented_control(
        "Editor", ["Form", "JSON"], key=f"{_P}editor", required=True, label_visibility="collapsed",
        on_change=carry_over, disabled=_rows(base) > FORM_ROWS, help=f"Above {FORM_ROWS} labels only JSON." if _rows(base) > FORM_ROWS else None,
    )  # fmt: skip
    try:
        schema = _json(base) if view == "JSON" else Schema.read(_form(base))
    except SchemaError as fault:
        st.error(in_words(fault, 600))
        _open_file(st.container())  # a file can stand in for what cannot be mended
        return None
    state[f"{_P}current"] = schema.to_json()
    more = ": more labels make a run slower" if schema.size > MANY else ""
    row = st.container(horizontal=True, vertical_alignment="center")
    row.caption(f"{count(schema.size, 'label')}{more}", width="content")
    row.download_button(
        "Schema", data=schema.dumps(indent=1), file_name="schema.json", mime="application/json", key=f"{_P}schema.download", type="tertiary",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    _open_file(row)
    if state.get(f"{_P}ready") != OWN and schema != ready()[state[f"{_P}ready"]][0]:
        st.caption("Changed from the ready one.")
    if pack(schema) is None:
        st.caption("Too long for the address: a link or a reload loses it. Download it, and open it again later.")
    return schema


def _open_file(place: Any) -> None:
    """A schema file in place of what is in the editors."""
    with place.popover("Open", icon=":material/upload_file:", type="tertiary"):
        st.file_uploader(
            "Schema from a file", type=["json"], key=_file_key(), on_change=_take_file, max_upload_size=MAX_BYTES // 2**20,
            help="JSON as the download beside it writes it. It takes the place of the schema in the editor.",
        )  # fmt: skip
        if fault := st.session_state.get(_FAULT):
            st.error(in_words(fault, 600))


def _file_key() -> str:
    """Of the upload: a new one once a file was taken, so that the same file can be opened again."""
    return f"{_P}schema.file.{st.session_state.get(f'{_P}revision', 0)}"


def _take_file() -> None:
    state = st.session_state
    file = state.get(_file_key())
    state[_FAULT] = None
    if file is not None:
        try:
            set_schema(Schema.from_bytes(file.name, file.getvalue()))
        except SchemaError as fault:
            state[_FAULT] = str(fault)


def _rows(base: dict[str, Any]) -> int:
    return len(base.get("entities", ())) + len(base.get("relations", ())) + len(base.get("events", ()))


def _take_ready() -> None:
    name = st.session_state[f"{_P}ready"]
    if name == OWN:
        return
    schema, texts = ready()[name]
    set_schema(schema, name)
    known = {d.text for _, each in ready().values() for d in each}
    if texts and st.session_state.get(f"{_P}text", "") in {"", *known}:  # a text of one's own stays
        st.session_state[f"{_P}text"] = texts[0].text


# ------------------------------------------------------------------ JSON
def _json(base: dict[str, Any]) -> Schema:
    key = f"{_P}json"
    if key not in st.session_state:
        st.session_state[key] = json.dumps(base, ensure_ascii=False, indent=1)
    text = st.text_area(
        "Schema as JSON", key=key, height=420, on_change=_take_json,
        help='{"entities": ["person"], "relations": {"works for": {"head": ["person"], "tail": []}}, "events": {"attack": ["target"]}, "sentiment": {}}',
    )  # fmt: skip
    return Schema.parse(text)


def _take_json() -> None:
    state = st.session_state
    try:
        schema = Schema.parse(state[f"{_P}json"])
    except SchemaError:
        return  # the editor says what is wrong
    text, name = state[f"{_P}json"], state.get(f"{_P}ready", OWN)
    set_schema(schema, name if name in ready() and schema == ready()[name][0] else OWN)
    state[f"{_P}json"] = text


def carry_over() -> None:
    """Make what was edited last the base of the editors: before the other one is shown, and after another page was open."""
    state = st.session_state
    if f"{_P}current" in state:
        set_schema(Schema.read(state[f"{_P}current"]), state.get(f"{_P}ready", OWN))


# ------------------------------------------------------------------ form
def _form(base: dict[str, Any]) -> dict[str, Any]:
    revision = st.session_state.get(f"{_P}revision", 0)
    names_of = ["Entities", "Relations", "Events", "Sentiment"]
    filled = next((name for name in names_of if base.get(name.lower()) is not None), names_of[0])
    tabs = st.tabs(names_of, default=filled, key=f"{_P}schema.tabs.{revision}")
    with tabs[0]:
        entities = _entities(base, revision)
    names = [row if isinstance(row, str) else row["name"] for row in entities]
    with tabs[3]:
        sentiment = _sentiment(base, revision)
    if sentiment is not None:
        names += [name for name in ("aspect", "opinion") if name not in names]
    with tabs[1]:
        relations = _relations(base, revision, names)
    with tabs[2]:
        events = _events(base, revision)
    return {
        **({"entities": entities} if entities else {}),
        **({"relations": relations} if relations else {}),
        **({"events": events} if events else {}),
        **({"sentiment": sentiment} if sentiment is not None else {}),
    }


def _table(
    rows: list[dict[str, Any]], columns: dict[str, Any], key: str, order: list[str] | None = None
) -> list[dict[str, Any]]:
    """An editable table; rows without a name are not rows yet.

    Args:
        order: columns that are shown; None: all.
    """
    frame = pd.DataFrame(rows, columns=list(columns))
    if not rows:
        frame = frame.astype(dict.fromkeys(columns, "object"))
    edited = st.data_editor(
        frame, key=key, num_rows="dynamic", hide_index=True, width="stretch", column_config=columns, row_height=32,
        column_order=order,
    )  # fmt: skip
    found = edited.to_dict("records")
    return [
        {str(k): v for k, v in row.items()} for row in found if isinstance(row.get("name"), str) and row["name"].strip()
    ]


def _entities(base: dict[str, Any], revision: int) -> list[Any]:
    given = [{"name": row} if isinstance(row, str) else row for row in base.get("entities", ())]
    rows = [
        {"name": r["name"], "description": r.get("description", ""), "threshold": r.get("threshold")} for r in given
    ]
    # Three columns are wider than the left side of most screens, so one of two stands beside the type.
    said = {"description": "Description", "threshold": "Least score"}
    beside = st.segmented_control(
        "Beside the type", list(said), key=f"{_P}beside.type", format_func=said.__getitem__, label_visibility="collapsed",
        on_change=carry_over, help="What stands beside each type in the table; both are kept.",
    )  # fmt: skip
    beside = beside or next((name for name in said if any(row[name] not in ("", None) for row in rows)), None)
    found = _table(
        rows,
        {
            "name": st.column_config.TextColumn("Type", required=True, max_chars=200),
            "description": st.column_config.TextColumn(
                "Description", width="medium", max_chars=2000, help="What belongs to it, for engines that read it."
            ),
            "threshold": st.column_config.NumberColumn(
                "Least score", width="small", min_value=0.0, max_value=1.0, step=0.05, help="Empty: that of the run."
            ),
        },
        f"{_P}entities.{revision}",
        ["name", *([beside] if beside else [])],
    )
    made: list[Any] = []
    for row in found:
        label: dict[str, Any] = {"name": row["name"].strip()}
        if isinstance(row["description"], str) and row["description"].strip():
            label["description"] = row["description"].strip()
        if row["threshold"] is not None and not pd.isna(row["threshold"]):
            label["threshold"] = float(row["threshold"])
        made.append(label["name"] if len(label) == 1 else label)
    return made


def _relations(base: dict[str, Any], revision: int, names: list[str]) -> dict[str, Any]:
    rows = [{"name": name, **rule} for name, rule in base.get("relations", {}).items()]
    ends = {
        side: st.column_config.MultiselectColumn(said, options=names, help="Entity types; empty: every type.")
        for side, said in (("head", "From"), ("tail", "To"))
    }
    found = _table(
        rows,
        {"name": st.column_config.TextColumn("Relation", required=True, max_chars=200), **ends},
        f"{_P}relations.{revision}",
    )
    _refuse_doubles([row["name"].strip() for row in found], "relation")
    return {row["name"].strip(): {side: _list(row[side]) for side in ("head", "tail")} for row in found}


def _events(base: dict[str, Any], revision: int) -> dict[str, Any]:
    rows = [{"name": name, "roles": list(roles)} for name, roles in base.get("events", {}).items()]
    known = sorted({role for row in rows for role in row["roles"]})
    found = _table(
        rows,
        {
            "name": st.column_config.TextColumn("Event", required=True, max_chars=200),
            "roles": st.column_config.MultiselectColumn("Roles", options=known, accept_new_options=True),
        },
        f"{_P}events.{revision}",
    )
    _refuse_doubles([row["name"].strip() for row in found], "event")
    return {row["name"].strip(): _list(row["roles"]) for row in found}


def _sentiment(base: dict[str, Any], revision: int) -> dict[str, Any] | None:
    given = base.get("sentiment")
    wanted = st.checkbox(
        "Aspects, opinions and their polarity", value=given is not None, key=f"{_P}sentiment.{revision}",
        help="Short for the entities aspect and opinion with a relation for each polarity.",
    )  # fmt: skip
    if not wanted:
        return None
    start = list((given or {}).get("polarities", POLARITIES))
    chosen = st.multiselect(
        "Polarities",
        list(dict.fromkeys([*start, *POLARITIES])),
        default=start,
        accept_new_options=True,
        key=f"{_P}polarities.{revision}",
    )
    return {"polarities": chosen or list(POLARITIES)}


def _list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) or hasattr(value, "tolist") else []


def _refuse_doubles(names: list[str], what: str) -> None:
    double = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if double is not None:
        raise SchemaError(f"The {what} '{double}' is declared twice: remove one.")
