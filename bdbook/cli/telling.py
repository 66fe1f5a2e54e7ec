"""Printing what a terminal may have no letters for."""

from __future__ import annotations

import sys


def tell(text: object) -> None:
    """Print, with escapes for what stdout cannot encode: a name of a file should not cost what was computed."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(str(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)
