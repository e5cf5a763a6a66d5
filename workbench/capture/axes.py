"""An array whose axes have names: the form in which a capture hands out its additive tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.capture.errors import CaptureError


@dataclass(frozen=True)
class NamedTable:
    """A numpy array with a name for every axis and a label for every index of it.

    Attributes:
        values: the numbers, one axis for each entry of `dims`.
        dims: axis names in order, for example ("block", "site", "phase", "group", "expert").
        coords: for each axis name the labels along it (site ids, group names, expert numbers, ...).
    """

    values: np.ndarray
    dims: tuple[str, ...]
    coords: dict[str, tuple[Any, ...]]

    def __post_init__(self) -> None:
        expected = tuple(len(self.coords[dim]) for dim in self.dims)
        if self.values.shape != expected:
            raise CaptureError(
                f"A table with axes {self.dims} and labels {expected} needs an array of that shape, but it has "
                f"{self.values.shape}: rebuild the table from its capture."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def axis(self, dim: str) -> int:
        """Position of the axis `dim`; raises CaptureError for an unknown name."""
        if dim not in self.dims:
            raise CaptureError(f"This table has the axes {', '.join(self.dims)}, not '{dim}': choose one of them.")
        return self.dims.index(dim)

    def sum(self, *dims: str) -> NamedTable:
        """Add up over the named axes."""
        axes = tuple(self.axis(dim) for dim in dims)
        kept = tuple(dim for dim in self.dims if dim not in dims)
        return NamedTable(self.values.sum(axis=axes), kept, {dim: self.coords[dim] for dim in kept})

    def sel(self, **labels: Any) -> NamedTable:
        """Keep one label of each named axis and drop that axis, for example `sel(group="Text", phase="prefill")`."""
        table = self
        for dim, label in labels.items():
            axis = table.axis(dim)
            if label not in table.coords[dim]:
                known = ", ".join(str(value) for value in table.coords[dim][:12])
                raise CaptureError(f"The axis {dim} has no '{label}': it has {known}; choose one of them.")
            index = table.coords[dim].index(label)
            kept = tuple(other for other in table.dims if other != dim)
            table = NamedTable(
                table.values.take(index, axis=axis), kept, {other: table.coords[other] for other in kept}
            )
        return table

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.values, dtype=dtype)
