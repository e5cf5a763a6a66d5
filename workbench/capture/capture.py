"""One capture in memory: the manifest, its additive tables, and its token rows.

Tables are read from disk when first used, so opening a large capture costs its manifest alone. Dimension letters:
Bk blocks, S sites, P phases, G groups, E experts of the largest site (shorter sites are padded, see `expert_mask`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.capture.axes import NamedTable
from workbench.capture.errors import CaptureError
from workbench.capture.schema import LOAD_DIMS, Manifest, Site

if TYPE_CHECKING:
    import pyarrow as pa


class Capture:
    """What a probe recorded of one model on some input.

    Args:
        manifest: sites, groups, model and everything else that is not a table.
        load: "count" int64 and "mass" float64 [Bk, S, P, G, E]; "tokens", "dropped", "skipped" int64 [Bk, S, P, G].
        coactivation: int64 [S, E, E], how often two experts were chosen for the same token (diagonal: chosen at all).
        tokens: stack -> Arrow table, a row a token (columns: docs/capture_format.md).
        path: the folder it was read from, if it was.

    Mappings may be lazy: a value is asked for when it is first used.
    """

    def __init__(
        self,
        manifest: Manifest,
        load: Mapping[str, np.ndarray],
        *,
        coactivation: np.ndarray | None = None,
        tokens: Mapping[str, pa.Table] | None = None,
        curve: pa.Table | None = None,
        path: Path | None = None,
    ) -> None:
        self.manifest = manifest
        self.path = path
        self._load = load
        self._coactivation = coactivation
        self._tokens = tokens
        self._curve = curve
        self._holder: object | None = None

    # ------------------------------------------------------------------ what it is
    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites in model order; the first axis of `count`."""
        return self.manifest.sites

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names; the second axis of `count`."""
        return tuple(group.name for group in self.manifest.groups)

    @property
    def phases(self) -> tuple[str, ...]:
        return self.manifest.phases

    @property
    def stacks(self) -> tuple[str, ...]:
        return self.manifest.stacks

    @property
    def name(self) -> str:
        """Name for a title: the folder's, without its extension, else the model's id."""
        if self.path is not None:
            return self.path.name.removesuffix(".capture")
        return self.manifest.model.id

    def site(self, site_id: str) -> Site:
        """The site with this id; raises CaptureError naming the sites there are."""
        return self.sites[self.site_index(site_id)]

    def site_index(self, site_id: str) -> int:
        for index, site in enumerate(self.sites):
            if site.id == site_id:
                return index
        known = ", ".join(site.id for site in self.sites[:12])
        raise CaptureError(f"This capture has no site '{site_id}': it has {known}; choose one of them.")

    def group_index(self, group: str) -> int:
        if group not in self.groups:
            raise CaptureError(
                f"This capture has no group '{group}': it has {', '.join(self.groups)}; choose one of them."
            )
        return self.groups.index(group)

    def has(self, stream: str) -> bool:
        """Whether a stream ("load", "coactivation", "tokens", "curve", "evidence") is present."""
        return stream in self.manifest.streams

    # ------------------------------------------------------------------ tables
    def table(self, name: str) -> NamedTable:
        """An additive table with all its axes.

        Args:
            name: "count", "mass" (block, site, phase, group, expert) or "tokens", "dropped", "skipped" (without expert).

        Raises:
            CaptureError: for another name.
        """
        if name not in LOAD_DIMS:
            raise CaptureError(f"A capture has the tables {', '.join(LOAD_DIMS)}, not '{name}': choose one of them.")
        dims = LOAD_DIMS[name]
        coords = self._coords
        return NamedTable(self._load[name], dims, {dim: coords[dim] for dim in dims})

    @cached_property
    def _coords(self) -> dict[str, tuple[Any, ...]]:
        return {
            "block": tuple(range(self.manifest.blocks)),
            "site": tuple(site.id for site in self.sites),
            "phase": self.phases,
            "group": self.groups,
            "expert": tuple(range(self.manifest.max_experts)),
        }

    @cached_property
    def count(self) -> np.ndarray:
        """int64 [S, G, E]: how often each expert was chosen, summed over blocks and phases."""
        return self.table("count").sum("block", "phase").values

    @cached_property
    def mass(self) -> np.ndarray:
        """float64 [S, G, E]: sum of gate weights, summed over blocks and phases."""
        return self.table("mass").sum("block", "phase").values

    @cached_property
    def token_count(self) -> np.ndarray:
        """int64 [S, G]: tokens that reached each site, summed over blocks and phases."""
        return self.table("tokens").sum("block", "phase").values

    @cached_property
    def dropped(self) -> np.ndarray:
        """int64 [S, G]: choices that a capacity limit dropped."""
        return self.table("dropped").sum("block", "phase").values

    @cached_property
    def skipped(self) -> np.ndarray:
        """int64 [S, G]: choices of no expert at all (a skip class)."""
        return self.table("skipped").sum("block", "phase").values

    @cached_property
    def expert_mask(self) -> np.ndarray:
        """bool [S, E]: True where the site has that expert, False where the axis is only padded."""
        experts = np.array([site.experts for site in self.sites])
        return np.arange(self.manifest.max_experts)[None, :] < experts[:, None]

    @property
    def coactivation(self) -> np.ndarray | None:
        """int64 [S, E, E] or None: tokens for which both experts were chosen; the diagonal is the count of each."""
        if self._coactivation is None and self.path is not None and self.has("coactivation"):
            from workbench.capture.read import read_coactivation

            self._coactivation = read_coactivation(self.path, self.manifest)
        return self._coactivation

    # ------------------------------------------------------------------ token rows
    @property
    def tokens(self) -> Mapping[str, pa.Table] | None:
        """Stack -> Arrow table with a row a kept token, or None if rows were not recorded."""
        if self._tokens is None and self.path is not None and self.has("tokens"):
            self._tokens = {stack: self.read_tokens(stack) for stack in self.manifest.sampling}
        return self._tokens

    def read_tokens(self, stack: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Token rows of one stack, only the columns asked for (a page reads one site and nothing else).

        Raises:
            CaptureError: if the capture has no token rows, no such stack or no such column.
        """
        if not self.has("tokens"):
            raise CaptureError(
                "This capture holds counts but no token rows: record it again with tokens=True (or without --no-tokens)."
            )
        if self._tokens is not None:
            if stack not in self._tokens:
                raise CaptureError(f"This capture has token rows of {', '.join(self._tokens)}, not of '{stack}'.")
            table = self._tokens[stack]
            return table if columns is None else table.select(list(columns))
        from workbench.capture.read import read_token_rows

        if self.path is None:
            raise CaptureError("This capture lists token rows but holds none: save and load it again.")
        return read_token_rows(self.path, stack, columns)

    @property
    def curve(self) -> pa.Table | None:
        """Quality and cost of sub-models, a row each, or None."""
        if self._curve is None and self.path is not None and self.has("curve"):
            from workbench.capture.read import read_curve

            self._curve = read_curve(self.path)
        return self._curve

    # ------------------------------------------------------------------ files
    def save(self, path: str | Path, *, overwrite: bool = False, text: bool = True) -> Path:
        """Write the capture as a folder, or as one file if the name ends in ".zip".

        The folder appears whole or not at all: it is written under a temporary name beside the target and renamed.

        Args:
            path: where to; a name ending in ".zip" makes the uncompressed archive.
            overwrite: replace a capture that is there.
            text: False leaves out pieces and token ids, from which the text could be read back.

        Raises:
            CaptureError: if the target exists, the disk is full, or the content is inconsistent.
        """
        from workbench.capture.archive import zip_capture
        from workbench.capture.write import write_capture

        if Path(path).suffix == ".zip":
            return zip_capture(self, Path(path), overwrite=overwrite, text=text)
        return write_capture(self, Path(path), overwrite=overwrite, text=text)

    @classmethod
    def load(cls, path: str | Path) -> Capture:
        """Open a capture folder or archive; raises CaptureError saying what is wrong with it."""
        from workbench.capture.archive import open_archive
        from workbench.capture.read import read_capture

        path = Path(path)
        if path.is_file():
            return open_archive(path)
        return read_capture(path)

    def keep_alive(self, holder: object) -> Capture:
        """Tie an object (the temporary folder of an unpacked archive) to the life of this capture; returns itself."""
        self._holder = holder
        return self

    def validate(self) -> None:
        """Check shapes, types, signs and sums against the manifest; raises CaptureError naming the first fault."""
        from workbench.capture.validate import validate

        validate(self)

    def __repr__(self) -> str:
        n = {stack: sum(groups.values()) for stack, groups in self.manifest.tokens.items()}
        return (
            f"Capture({self.manifest.model.id!r}, {len(self.sites)} sites, groups={list(self.groups)}, "
            f"tokens={n}, streams={list(self.manifest.streams)})"
        )
