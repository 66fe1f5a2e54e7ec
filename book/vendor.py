"""Fetch the vendored files again: python book/vendor.py

The table in `book/assets/vendor/README.md` says which file of which npm package each one is, and its sum. Needs npm.
"""

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTS = (ROOT / "book/assets/vendor/README.md",)
ROW = re.compile(r"^\| (\S+) \| npm package `([^`]+)`, (\S+) \| (\S+) \| \S+ \| ([0-9a-f]{64}) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Vendored:
    """A line of a table: where the file is here, and where it is from."""

    path: Path
    package: str
    source: str
    version: str
    sha256: str


def listed() -> list[Vendored]:
    """Every file of the tables that comes from npm."""
    return [
        Vendored(table.parent / path, package, source, version, sha256)
        for table in LISTS
        for path, package, source, version, sha256 in ROW.findall(table.read_text(encoding="utf-8"))
    ]


def fetch(files: list[Vendored]) -> None:
    """Write the files; raise where one is not what its line says."""
    for package in sorted({f"{file.package}@{file.version}" for file in files}):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as tar:
                for file in files:
                    if f"{file.package}@{file.version}" == package:
                        write(file, tar.extractfile(f"package/{file.source}").read())


def write(file: Vendored, contents: bytes) -> None:
    found = hashlib.sha256(contents).hexdigest()
    if found != file.sha256:
        origin = f"{file.source} of {file.package} {file.version}"
        sys.exit(f"{origin} has the sum {found}; {file.path} expects {file.sha256}")
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(contents)
    print(file.path.relative_to(ROOT))


if __name__ == "__main__":
    fetch(listed())
