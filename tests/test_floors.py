"""The floors of the architecture: an arrow of imports may only point down (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Top folder or module -> what its files may never import (a prefix of the dotted name).
FACES = ("app", "pages", "workbench.cli", "workbench.commands")
STATE = ("workbench.session", "workbench.jobs", "workbench.live_runs", "workbench.live_models")
VIEWS = (
    "workbench.export",
    "workbench.export_compare",
    "workbench.export_nulls",
    "workbench.report",
    "workbench.pictures",
    "workbench.figures",
)
MODELS = (
    "workbench.models",
    "workbench.inputs",
    "workbench.recording",
    "workbench.convert",
    "workbench.doctor",
    "workbench.memory",
    "workbench.elastic",
    "workbench.causal",
    "workbench.training",
    "workbench.extract",
)
HEAVY = ("torch", "transformers")
SCREEN = ("streamlit", "plotly")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "workbench/capture": (
        "torch",
        "transformers",
        "matplotlib",
        "probes",
        *SCREEN,
        *FACES,
        *STATE,
        *VIEWS,
        *MODELS,
        "workbench.analysis",
    ),
    "probes": ("workbench.analysis", *SCREEN, *FACES, *STATE, *VIEWS, *MODELS),
    "workbench/analysis": (*HEAVY, *SCREEN, "matplotlib", "probes", *FACES, *STATE, *VIEWS, *MODELS),
    "workbench/figures": (*HEAVY, "streamlit", "probes", *FACES, *STATE, *MODELS),
    "workbench/export.py": (*HEAVY, "streamlit", "probes", *FACES, *STATE, *MODELS),
    "workbench/export_nulls.py": (*HEAVY, "streamlit", "probes", *FACES, *STATE, *MODELS),
    "workbench/export_compare.py": (*HEAVY, "streamlit", "probes", *FACES, *STATE, *MODELS),
    "workbench/report.py": (*HEAVY, "streamlit", "probes", *FACES, *STATE, *MODELS),
    "workbench/pictures.py": (*HEAVY, "streamlit", "probes", *FACES, *STATE, *MODELS),
    "workbench/models": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/models.py": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/inputs": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/inputs.py": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/recording": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/convert.py": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/unified": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/making.py": (*HEAVY, *SCREEN, "probes", *FACES, *STATE, *VIEWS, *MODELS, "workbench.analysis"),
    "workbench/module_command.py": (*HEAVY, *SCREEN, "probes", *FACES, *STATE, *VIEWS, *MODELS, "workbench.analysis"),
    "workbench/causal": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/elastic": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/extract": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/training": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/live": (*SCREEN, *FACES, *STATE, *VIEWS),
    "workbench/live_runs.py": (*SCREEN, *FACES, *VIEWS, "workbench.session"),
    "workbench/live_models.py": (*SCREEN, *FACES, *VIEWS, "workbench.session", "workbench.jobs"),
    "workbench/jobs.py": ("streamlit", "app", "pages", "workbench.cli", "workbench.commands", "workbench.session"),
    "workbench/session.py": ("app", "pages", "workbench.cli", "workbench.commands"),
    "workbench/commands": ("streamlit", "app", "pages", *STATE[:1]),
    "workbench/cli.py": ("streamlit", "app", "pages", *STATE[:1]),
    "pages": ("workbench.cli", "workbench.commands", "app"),
}


def python_files(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py")) if path.is_dir() else []


def imports(file: Path) -> set[str]:
    """Every module that a file imports, at any depth, in dotted form."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_point_down(place: str) -> None:
    for file in python_files(place):
        for name in imports(file):
            for banned in FORBIDDEN[place]:
                assert not (name == banned or name.startswith(banned + ".")), (
                    f"{file.relative_to(ROOT)} imports {name}, which the floors forbid"
                )


def test_every_module_stands_on_a_floor() -> None:
    """A new module is given its floor: none escapes the rule by being forgotten."""
    known = {place.removesuffix(".py") for place in FORBIDDEN} | {
        "workbench/__init__",
        "workbench/doctor",
        "workbench/memory",
    }
    for path in (ROOT / "workbench").iterdir():
        if path.name.startswith("__pycache__"):
            continue
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))):
            assert f"workbench/{path.stem}" in known, f"workbench/{path.name} has no floor in tests/test_floors.py"


def test_the_check_sees_a_forbidden_import(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from torch import nn\n    import streamlit.web\n")
    assert {"torch", "torch.nn", "streamlit.web"} <= imports(file)


@pytest.mark.parametrize(
    "module",
    [
        "workbench",
        "probes",
        "workbench.capture",
        "workbench.analysis",
        "workbench.figures",
        "workbench.extract",
        "workbench.cli",
    ],
)
def test_import_is_cheap(module: str) -> None:
    """torch, transformers and streamlit load only where first used."""
    code = (
        f"import sys, {module}\n"
        "print([name for name in ('torch', 'transformers', 'streamlit', 'umap', 'matplotlib.pyplot') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert out.stdout.strip() == "[]"


def test_nothing_is_unpickled() -> None:
    """No module but the converter's separate process reads a pickle."""
    banned = {"pickle", "joblib", "dill", "cloudpickle", "shelve"}
    for place in ("workbench", "probes", "pages", "app.py"):
        for file in python_files(place):
            assert not imports(file) & banned, f"{file.relative_to(ROOT)} imports a pickle reader"
            if "convert" not in file.stem:
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                        "torch.load",
                        "pd.read_pickle",
                        "pandas.read_pickle",
                    ):
                        raise AssertionError(f"{file.relative_to(ROOT)} reads a pickle at line {node.lineno}")
