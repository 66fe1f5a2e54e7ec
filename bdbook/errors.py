"""Words for the mistake that everyone makes: a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PartlyDone(Exception):
    """Work of many parts, of which `failed` could not be done; the message says which, and why.

    status: the command's exit status, 10 + failed, at most 110: none that Python, a shell or a command that could not
    begin (2) gives.
    """

    def __init__(self, message: str, failed: int) -> None:
        super().__init__(message)
        self.failed = failed
        self.status = 10 + min(failed, 100)


# More names than this are not all listed.
LONGEST_LIST = 40


def unknown(kind: str, given: str, known: Iterable[str]) -> ValueError:
    """An error to raise when `given` is not one of the `known` names of a `kind` of thing.

    `raise unknown("recipe", "photo-ddpm", recipes)` says: unknown recipe 'photo-ddpm': did you mean
    'photos-ddpm'? Known: leaves-ddpm, photos-ddpm.
    """
    names = sorted(known)
    spelling = {name.casefold(): name for name in names}  # "DDPM" is as near to "ddpm" as can be
    nearest = difflib.get_close_matches(str(given).casefold(), spelling, n=1)
    hint = f": did you mean {spelling[nearest[0]]!r}?" if nearest else "."
    if len(names) > LONGEST_LIST:
        likely = difflib.get_close_matches(str(given).casefold(), spelling, n=8, cutoff=0.0)
        listed = f"{', '.join(sorted(spelling[name] for name in likely))}, and {len(names) - len(likely)} more"
    else:
        listed = ", ".join(names)
    return ValueError(f"unknown {kind} {given!r}{hint} Known: {listed}.")
