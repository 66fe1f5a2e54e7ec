"""Who takes part: a file with a name on each line, or a table (CSV) with the columns name and, if wanted, role."""

import csv
import re
from pathlib import Path

from bdbook.errors import unknown

ROLES = ("student", "lecturer", "admin")


def read(file: Path, username: re.Pattern[str]) -> dict[str, str]:
    """Name -> role, in the order of the file; "student" where the table gives none.

    Names are compared in small letters, as JupyterHub compares them. Further columns are ignored. OSError for a file
    that cannot be read; ValueError, with the number of the line, for one that makes no sense.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # a spreadsheet begins with a mark of the encoding
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}. Save it as CSV UTF-8.") from error
    first = next((line for line in lines if line.strip()), "")
    rows = csv.reader(lines, delimiter=";" if ";" in first else ",")  # some languages' spreadsheets write semicolons
    columns: list[str] | None = None
    found: dict[str, str] = {}
    for row in rows:
        cells, where = [cell.strip() for cell in row], f"line {rows.line_num} of {file}"
        if not any(cells):
            continue
        if columns is None:
            lowered = [cell.lower() for cell in cells]
            columns = lowered if "name" in lowered else ["name"]
            if "name" in lowered:
                continue
        if len(cells) != len(columns):
            raise ValueError(
                f"{where} has {len(cells)} columns; expected {len(columns)}: {', '.join(columns)}. The first line "
                "of a table names its columns, name and role; without it each line is one name."
            )
        entry = dict(zip(columns, cells))
        name, role = entry["name"].lower(), entry.get("role", "").lower() or "student"
        if not username.match(name):
            raise ValueError(
                f"{where} has the name {entry['name']!r}; expected letters, digits, dots, dashes, underscores, @ and "
                "+, with a letter or a digit first, 64 at most. Write the name that the person signs in with."
            )
        if role not in ROLES:
            raise ValueError(f"{where}: {unknown('role', role, ROLES)}")
        if name in found:
            raise ValueError(f"{where} has {name!r} a second time; expected each name once. Remove one of the lines.")
        found[name] = role
    if not found:
        raise ValueError(f"{file} names nobody; expected a name on each line, or a table with a column name.")
    return found
