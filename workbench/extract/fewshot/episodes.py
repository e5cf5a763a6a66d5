"""Few-shot episodes: for each set a test part, and ten support sets of so many sentences a type (MetaNER, arXiv 2305.11038 §6.1).

    DIR/SET/record.schema   DIR/SET/test.json   DIR/SET/seed{1..10}/{1,5}shot/train.json

Both spellings of the keys (`entity`, `entity_offsets`) are read; offsets are token indices (`formats.uie`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.scores import within
from workbench.extract.formats.tokens import Counts
from workbench.extract.formats.uie import read_uie, read_uie_schema
from workbench.extract.records import Document
from workbench.extract.schema import Schema

SETS = ("conll03", "wnut17", "NCBI-disease", "SEC-filings")  # of the paper, in its order
BELOW = ("", "metaner_fewshot", "ie/metaner_fewshot")  # where they may lie below the folder that is named


@dataclass(frozen=True)
class FewShotSet:
    """One set with its test part; support sets are read when asked for.

    Attributes:
        name: of the folder. folder: that holds it. schema: its types, in the order of record.schema.
    """

    name: str
    folder: Path
    schema: Schema

    @cached_property
    def test(self) -> tuple[Document, ...]:
        """Every test sentence, gold of the schema's types."""
        return tuple(within(each, self.schema)[0] for each in read_uie(self.folder / "test.json", Counts()))

    def sample(self, limit: int | None, seed: int = 0) -> tuple[Document, ...]:
        """Test sentences in text order: all, or so many drawn by a seed, the same for every engine and support set."""
        if limit is None or limit >= len(self.test):
            return self.test
        chosen = random.Random(f"{self.name}/{seed}").sample(range(len(self.test)), limit)
        return tuple(self.test[n] for n in sorted(chosen))

    def seeds(self, shots: int) -> tuple[int, ...]:
        """Numbers of the support sets with so many shots that are at hand."""
        found = [re.fullmatch(r"seed(\d+)", each.name) for each in self.folder.glob("seed*")]
        numbers = sorted(int(match[1]) for match in found if match)
        return tuple(n for n in numbers if self._support_file(n, shots).is_file())

    def support(self, seed: int, shots: int) -> tuple[Document, ...]:
        """The annotated sentences of one support set, in the order of its file.

        Raises:
            ExtractError: there is no such support set.
        """
        path = self._support_file(seed, shots)
        if not path.is_file():
            known = ", ".join(sorted(p.name for p in self.folder.glob("seed*/*shot") if p.is_dir())[:1]) or "none"
            raise ExtractError(
                f"'{self.name}' has no support set of seed {seed} with {shots} shots (folders like {known}): choose --shots 1 or 5 and --seeds 1 to 10."
            )
        return tuple(within(each, self.schema)[0] for each in read_uie(path, Counts()))

    def _support_file(self, seed: int, shots: int) -> Path:
        return self.folder / f"seed{seed}" / f"{shots}shot" / "train.json"


def open_sets(folder: str | Path, names: Sequence[str] = ()) -> list[FewShotSet]:
    """The few-shot sets below a folder, which may be that of the sets or one above it.

    Args:
        names: of the sets wanted; the four of the paper if empty.

    Raises:
        ExtractError: the folder or a set is not there. SchemaError: its record.schema is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ExtractError(f"The folder of the few-shot sets '{root}' does not exist: check --data (docs/data.md).")
    wanted = list(dict.fromkeys(names or SETS))
    base = next((root / b for b in BELOW if any((root / b / name / "test.json").is_file() for name in wanted)), None)
    found = []
    for name in wanted:
        place = None if base is None or Path(name).name != name else base / name
        if place is None or not (place / "test.json").is_file() or not (place / "record.schema").is_file():
            raise ExtractError(
                f"The few-shot set '{name}' was expected as '{name}/test.json' with '{name}/record.schema' below '{root}', but it is not there: "
                "give the folder of the sets by --data (docs/data.md), or name those that are there by --sets."
            )
        found.append(FewShotSet(name, place, read_uie_schema(place)))
    return found
