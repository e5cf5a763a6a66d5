"""What users upload, and what is made of it, is gone from the temporary folder when the dashboard ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKES = """
from pages.parts.uploads import keep_uploads, temporary_folder

class Upload:
    def __init__(self, name): self.name = name
    def getbuffer(self): return self.name.encode()

own = temporary_folder()
(own / "found.jsonl").write_text("{}")
folder, kept = keep_uploads([Upload("../a.txt"), Upload("a.txt")])
print(own, folder, *kept, sep="\\n")
assert all(path.exists() for path in (own, folder, *kept))
"""


def test_folders_go_with_the_process(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", MAKES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"TMPDIR": str(tmp_path)},
    )
    own, folder, *kept = map(Path, made.stdout.splitlines())
    assert own.parent == folder.parent == tmp_path and own != folder
    assert [path.parent for path in kept] == [folder, folder] and kept[0].name == "a.txt" and kept[1].name != "a.txt"
    assert list(tmp_path.iterdir()) == []
