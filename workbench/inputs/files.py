"""Which files a user means: names, patterns and folders to files, each with its kind, its folder group and a bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.inputs.documents import InputError

MB = 2**20
TABLES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SOUNDS = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"})
CLIPS = frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi"})
TEXTS = frozenset(
    [
        ".txt",
        ".text",
        ".md",
        ".rst",
        ".tex",
        ".py",
        ".js",
        ".ts",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".java",
        ".go",
        ".rs",
        ".rb",
        ".sh",
        ".sql",
        ".html",
        ".htm",
        ".xml",
        ".json",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".r",
        ".jl",
        ".php",
        ".pl",
        ".lua",
        ".swift",
        ".kt",
        ".cs",
        ".css",
        ".log",
    ]
)
# Larger files are refused before they are read: a reader holds a whole one in memory.
LIMITS = {
    "text": 256 * MB, "jsonl": 2048 * MB, "csv": 2048 * MB, "parquet": 2048 * MB,
    "image": 128 * MB, "audio": 512 * MB, "video": 1024 * MB,
}  # fmt: skip
MAX_FILES = 200_000
CAPTIONS = "captions.jsonl"
"""In a folder: what its pictures, sounds and clips show, lines ``{"file": ..., "caption": ...}``; no document of its own."""


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: where it is.
        kind: "text", "jsonl", "csv", "parquet", "image", "audio" or "video".
        name: path below what the user named, with "/" between folders; never absolute.
        folder: first folder below the one that was named, or the name of the file's own folder.
    """

    path: Path
    kind: str
    name: str
    folder: str


def kind_of(path: Path) -> str | None:
    """The kind of a file by its suffix, None for one that is not known."""
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return TABLES[suffix]
    for kind, suffixes in (("text", TEXTS), ("image", IMAGES), ("audio", SOUNDS), ("video", CLIPS)):
        if suffix in suffixes:
            return kind
    return None


def find_sources(paths: list[Path]) -> tuple[list[Source], int]:
    """Every file that `paths` name, folders walked in alphabetical order, and the number of files passed over.

    A file that is named is read whatever its suffix (an unknown one as text); in a folder, unknown suffixes, hidden files and
    captions of other files are passed over.

    Raises:
        InputError: for a path that is not there, a folder without a readable file, or a file that is too large.
    """
    sources: list[Source] = []
    skipped = 0
    for path in paths:
        if path.is_dir():
            found, passed = _walk(path)
            sources += found
            skipped += passed
        elif path.is_file():
            sources.append(Source(path, kind_of(path) or "text", path.name, path.resolve().parent.name))
        else:
            raise InputError(f"There is no file and no folder '{path}': check the name given to --input.")
        if len(sources) > MAX_FILES:
            raise InputError(
                f"'{path}' brings the files to more than {MAX_FILES:,}: name a smaller folder, or put texts into one jsonl."
            )
    for source in sources:
        size = source.path.stat().st_size
        if size > LIMITS[source.kind]:
            raise InputError(
                f"'{source.path}' has {size / MB:,.0f} MB, and a {source.kind} file may have {LIMITS[source.kind] // MB:,} MB: split it."
            )
    return _unique(sources), skipped


def _walk(root: Path) -> tuple[list[Source], int]:
    sources, skipped = [], 0
    for path in sorted(root.rglob("*")):
        below = path.relative_to(root)
        if any(part.startswith(".") for part in below.parts) or not path.is_file() or path.name == CAPTIONS:
            continue
        kind = kind_of(path)
        if kind is None:
            skipped += 1
            continue
        folder = below.parts[0] if len(below.parts) > 1 else root.resolve().name
        sources.append(Source(path, kind, below.as_posix(), folder))
    if not sources:
        raise InputError(
            f"The folder '{root}' holds no text, table, picture, sound or clip ({skipped} other files): name the folder that does."
        )
    return sources, skipped


def _unique(sources: list[Source]) -> list[Source]:
    """Names from different folders may be the same: later ones get a number, as ids are made of them."""
    seen: dict[str, int] = {}
    result = []
    for source in sources:
        number = seen[source.name] = seen.get(source.name, 0) + 1
        result.append(
            source if number == 1 else Source(source.path, source.kind, f"{source.name} ({number})", source.folder)
        )
    return result
