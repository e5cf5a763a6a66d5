"""Data sets by name: `load_data("conll04", root, "test")`. docs/data.md says where each is to be had, and what may be done with it.

`root` is the folder that holds the sets' folders, or one above that with them in `ie/` and `ie_types/`. A set without a split of its
own is split by the hash of the document's id, 80/10/10: such results have no published figure beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from workbench.extract.errors import RecordError
from workbench.extract.formats import own_forms as own
from workbench.extract.formats.aste import read_aste
from workbench.extract.formats.conll import read_conll
from workbench.extract.formats.files import expected, json_lines
from workbench.extract.formats.spert import read_spert
from workbench.extract.formats.tokens import Counts, join
from workbench.extract.formats.uie import read_uie
from workbench.extract.records import Argument as Arg
from workbench.extract.records import Document, Event, Span

SPLITS = ("train", "dev", "test")
Reader = Callable[[Path, Counts], Iterator[Document]]


@dataclass(frozen=True)
class DataSet:
    """Where a set's parts lie and how they are read.

    Attributes:
        folder: below the root.
        read: reader of one part.
        parts: split -> files, relative to the folder; "all" for a set that is split by hash.
        group: field of a document whose hash decides its split; None: the id up to a trailing "-number".
        trained: "yes", "train only", "dev only", "not the test section" or "never": what a shipped checkpoint may learn from.
        licence: as stated by the source.
    """

    folder: str
    read: Reader
    parts: dict[str, tuple[str, ...]]
    licence: str
    trained: str
    group: str | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that `load_data` takes for it, "all" apart."""
        return SPLITS if "all" in self.parts else tuple(self.parts)


def _three(ending: str, stem: str = "") -> dict[str, tuple[str, ...]]:
    return {split: (f"{stem}{split}{ending}",) for split in SPLITS}


def _columns(path: Path, counts: Counts) -> Iterator[Document]:
    return read_conll(path)


def _wikigold(path: Path, counts: Counts) -> Iterator[Document]:
    return read_conll(path, token=0, tags=[1])


def _sec(path: Path, counts: Counts) -> Iterator[Document]:
    return read_conll(path, token=0, tags=[3])


def _spert(path: Path, counts: Counts) -> Iterator[Document]:
    return read_spert(path)


def _rams(path: Path, counts: Counts) -> Iterator[Document]:
    return own.read_rams(path)


def _docred(path: Path, counts: Counts) -> Iterator[Document]:
    return own.read_docred(path, own.relation_names(path.parent.parent / "fewrel" / "pid2name.json"), counts)


def _fewrel(path: Path, counts: Counts) -> Iterator[Document]:
    return own.read_fewrel(path, own.relation_names(path.parent / "pid2name.json"), counts)


RESEARCH = "not stated, research use"
SETS: dict[str, DataSet] = {
    "wnut17": DataSet("wnut17", _columns, _three(".conll"), "CC BY 4.0", "train only"),
    "ncbi_disease": DataSet("ncbi_disease", _columns, _three(".tsv"), "public domain", "train only"),
    "bc5cdr": DataSet("bc5cdr", _columns, _three(".tsv"), "CC BY 4.0", "train only"),
    "anatem": DataSet("anatem", _columns, _three(".tsv"), "CC BY-SA", "train only"),
    "bc2gm": DataSet("bc2gm", _columns, _three(".tsv"), "CC BY", "train only"),
    "bionlp13cg": DataSet("bionlp13cg", _columns, _three(".tsv"), "CC BY-SA", "train only"),
    "wikigold": DataSet("wikigold", _wikigold, {"all": ("wikigold.conll.txt",)}, "CC BY 4.0", "yes"),
    "btc_twitter": DataSet(
        "btc_twitter",
        _columns,
        {"train": tuple(f"{section}.conll" for section in "abegh"), "test": ("f.conll",)},
        "CC BY 4.0",
        "not the test section",
    ),
    "sec_filings": DataSet(
        "sec_filings", _sec, {"train": ("train.txt",), "test": ("test.txt",)}, "CC BY 3.0", "train only"
    ),
    "uner_en_ewt": DataSet(
        "uner_en_ewt", _columns, {"dev": ("dev.iob2",), "test": ("test.iob2",)}, "CC BY-SA 4.0", "dev only"
    ),
    "litbank": DataSet("litbank", own.read_litbank, {"all": ("",)}, "CC BY 4.0", "yes"),
    "fewrel": DataSet(
        "fewrel", _fewrel, {"all": ("val_wiki.json", "val_pubmed.json", "val_semeval.json")}, "MIT", "yes", group="id"
    ),
    "re_docred": DataSet(
        "re_docred", _docred, {"dev": ("dev_revised.json",), "test": ("test_revised.json",)}, "MIT", "dev only"
    ),
    "re3d": DataSet("re3d", own.read_re3d, {"all": ("",)}, "OGL, public domain and CC, by source", "yes", group="id"),
    "conll04": DataSet("conll04", _spert, _three(".json"), RESEARCH, "train only"),
    "scierc": DataSet("scierc", _spert, _three(".json", "joint_er_"), RESEARCH, "train only"),
    "ade": DataSet("ade", own.read_ade, {"all": ("",)}, RESEARCH, "yes", group="paper"),
    "casie": DataSet("casie", own.read_casie, {"all": ("",)}, RESEARCH, "train only", group="id"),
    "wikievents": DataSet(
        "wikievents", own.read_wikievents, {"dev": ("dev.jsonl",), "test": ("test.jsonl",)}, RESEARCH, "dev only"
    ),
    "rams": DataSet("rams", _rams, {"dev": ("dev.jsonlines",), "test": ("test.jsonlines",)}, RESEARCH, "dev only"),
    "14res": DataSet("aste_v2/14res", read_aste, _three("_triplets.txt"), RESEARCH, "train only"),
    "14lap": DataSet("aste_v2/14lap", read_aste, _three("_triplets.txt"), RESEARCH, "train only"),
}
EPISODE = re.compile(r"metaner_fewshot/(conll03|wnut17|NCBI-disease|SEC-filings)(/seed\d{1,2}/[15]shot)?")

# The 31 sets of many type names, in one form. True: spans are positives only, other mentions may be unmarked.
TYPE_SETS: dict[str, bool] = {
    **dict.fromkeys(("dart", "masc_wordnet", "ufet_crowd", "wtq_silver"), True),
    **dict.fromkeys(
        ("aptner", "atis", "bio_mtl", "biored", "culotta_wikipedia", "cyner", "geneva", "hwu64_nlu", "inlegalner_dev", "maccrobat2020",
         "mams_absa", "matsyn", "multidogo", "phee", "polyai_spans", "product_attributes", "semcor_wordnet", "sgd", "skillspan",
         "snips", "sofc_exp", "somesci", "stackoverflow_ner", "tasteset2", "wiesp2022_astro", "wlp", "wnut16_twitter"),
        False,
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Every name that `load_data` takes, the few-shot episodes as one."""
    return (*SETS, "metaner_fewshot", *TYPE_SETS)


def load_data(name: str, root: str | Path, split: str = "train", counts: Counts | None = None) -> list[Document]:
    """The documents of a set.

    Args:
        name: one of `names`; a few-shot episode as "metaner_fewshot/wnut17/seed1/5shot" (its support set; "metaner_fewshot/wnut17" with
            the split "test" is the test set).
        root: the folder that holds the sets.
        split: "train", "dev" or "test", or "all".
        counts: takes what was left out or mended, by reason.

    Raises:
        RecordError: no such set or split, or its files are not below the root.
    """
    counts = Counts() if counts is None else counts
    if match := EPISODE.fullmatch(name):
        folder = _folder(Path(root), f"metaner_fewshot/{match[1]}", name)
        if (match[2] is None) != (split == "test"):
            raise RecordError(
                f"'metaner_fewshot/SET' has the split test, and 'metaner_fewshot/SET/seed1/5shot' the split train, not '{name}' {split}."
            )
        return list(read_uie(folder / ("test.json" if match[2] is None else f"{match[2][1:]}/train.json"), counts))
    if name in TYPE_SETS:
        folder = _folder(Path(root), name, name)
        return [d for d in _typed(folder, name, counts) if split == "all" or _split_of(d, name, None) == split]
    if name not in SETS:
        raise RecordError(f"There is no data set '{name}': choose one of {', '.join(names())}.")
    found = SETS[name]
    if split not in (*found.splits, "all"):
        raise RecordError(f"'{name}' has the splits {', '.join(found.splits)} and all, not '{split}'.")
    folder = _folder(Path(root), found.folder, name)
    if "all" in found.parts:
        documents = [d for part in found.parts["all"] for d in found.read(folder / part if part else folder, counts)]
        return [d for d in documents if split == "all" or _split_of(d, name, found.group) == split]
    wanted = found.splits if split == "all" else (split,)
    return [d for each in wanted for part in found.parts[each] for d in found.read(folder / part, counts)]


def hashed_split(key: str) -> str:
    """The split of a document without one: by the hash of its id, 80 % train, 10 % dev, 10 % test."""
    tenth = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") % 10
    return "train" if tenth < 8 else "dev" if tenth == 8 else "test"


def _split_of(document: Document, name: str, group: str | None) -> str:
    extra = document.model_extra or {}
    if "split" in extra:
        return {"val": "dev", "validation": "dev"}.get(extra["split"], str(extra["split"]))
    key = document.id if group == "id" else str(extra[group]) if group else re.sub(r"-\d+$", "", document.id)
    return hashed_split(f"{name}/{key}")


def _folder(root: Path, folder: str, name: str) -> Path:
    for base in (root, root / "ie", root / "ie_types"):
        if (base / folder).is_dir():
            return base / folder
    raise RecordError(
        f"The set '{name}' was expected in the folder '{folder}' below '{root}', but it is not there: see docs/data.md."
    )


def _typed(folder: Path, name: str, counts: Counts) -> Iterator[Document]:
    """A set of many type names: `{"text" | "tokens", "ents": [[start, end, type]]}` a line; further fields pass through."""
    path = folder / "norm.jsonl.gz"
    for number, row in enumerate(json_lines(path), start=1):
        with expected(path, "in the form of the type sets", f"Line {number} of '{name}'"):
            tokens = join(row["tokens"]) if "tokens" in row else None
            text = row["text"] if tokens is None else tokens.text

            def place(start: int, end: int, tokens: Any = tokens) -> tuple[int, int]:
                return (start, end) if tokens is None else tokens.chars(start, end)

            spans: dict[Span, None] = {}
            for start, end, what, *_ in row["ents"]:
                types = [what] if isinstance(what, str) else what.get("types", [])[:1]
                try:
                    at = place(start, end)
                    if not 0 <= at[0] < at[1] <= len(text) or not types:
                        raise ValueError
                except ValueError:
                    counts["spans outside their text, empty or without a type"] += 1
                    continue
                spans[Span(start=at[0], end=at[1], type=str(types[0]))] = None
            value: dict[str, Any] = {
                k: v for k, v in row.items() if k not in ("text", "tokens", "ents", "events", "id")
            }
            value |= {"id": f"{name}/{number}", "text": text, "entities": tuple(spans), "partial": TYPE_SETS[name]}
            if tokens is not None and all(start < end for start, end in tokens.offsets):
                value["tokens"] = [list(pair) for pair in tokens.offsets]
            if "events" in row:
                value["events"] = tuple(
                    Event(
                        type=type_,
                        trigger=Span(start=place(s, e)[0], end=place(s, e)[1], type=type_),
                        arguments=tuple(
                            Arg(role=role, start=place(a, b)[0], end=place(a, b)[1]) for a, b, role in roles
                        ),
                    )
                    for type_, s, e, roles in row["events"]
                )
            yield Document.model_validate(value)
