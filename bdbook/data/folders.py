"""A folder of pictures: which of them are trained on, which are held out, and which are left out and why.

Held out is what lies in `test` (or `val`, `valid`, `validation`) where that is beside `train`, directly below the
folder and in any case of letters; else about a fifth, chosen by a hash of each file's content. So another file moves
none from one side to the other, and copies of a picture are on one side.

Left out are hidden files and folders; what bdbook itself wrote (run folders, folders of samples, restored pictures,
other PNG files), unless the folder holds nothing else; files that cannot be read; and beside `train` and `test` what
lies in neither. Links are followed: to each folder once, never back to one that is being walked through, and a file
with several names is one picture, under the first of them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from bdbook.pixels import SOFTWARE

# A layout's folder of pictures to train on, and the names of the one to test on: the first of them that is there.
TRAIN = "train"
TESTS = ("test", "val", "valid", "validation")
# Of files without a layout one in so many is held out.
HELD_OUT = 5
HIDDEN, OWN, UNREADABLE, BROKEN, TWICE = "hidden", "of bdbook's own", "unreadable", "broken links", "linked twice"
BESIDE = "beside the folders that are used"
# What tells a folder that bdbook wrote: a record beside one of these, or a list of samples; restored pictures may lie
# among others, and are those that their list names.
OF_A_RUN = ("checkpoints", "weights.safetensors", "log.jsonl")
SAMPLES, RESTORED = "samples.json", "restored.json"
# Where a PNG says who wrote it, and how it says that this library did: a chunk's length, kind, key and text.
HEAD = 1024
_SAYS = b"Software\0" + SOFTWARE.encode()
WRITTEN = len(_SAYS).to_bytes(4, "big") + b"tEXt" + _SAYS


@dataclass(frozen=True)
class Folder:
    """The pictures of a folder, as `listed`.

    name: as it was asked for. path: absolute. train, test: the files, in order of path. how: what chose those of test.
    left_out: how many pictures, by reason. fingerprints: of train and test, by the contents of their files, whatever
    these are called.
    """

    name: str
    path: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    how: str
    left_out: Mapping[str, int]
    fingerprints: Mapping[str, str]

    def __str__(self) -> str:
        return self.name

    def part(self, split: str) -> tuple[Path, ...]:
        """The files of a split, "train" or "test"; ValueError where there is none."""
        files = self.test if split == "test" else self.train
        if not files:
            found = _count(len(self.train) + len(self.test), "picture")
            raise ValueError(
                f"folder {self.name!r} has {found}, and none for the {split} split ({self.how}): put folders train "
                "and test below it, add more pictures, or take those that are trained on, --split train"
            )
        return files

    def unreadable(self, more: int) -> Folder:
        """The same, with so many more files to train on left out since they could not be read."""
        if not more:
            return self
        return replace(self, left_out={**self.left_out, UNREADABLE: self.left_out.get(UNREADABLE, 0) + more})

    def as_dict(self, trained: int) -> dict[str, object]:
        """Plain data for a run's record. trained: how many pictures could be read to train on."""
        return {
            "found": trained + len(self.test),
            "train": trained,
            "test": len(self.test),
            "left_out": dict(self.left_out),
            "fingerprints": dict(self.fingerprints),
        }

    def words(self, trained: int) -> str:
        """What a training says of it. trained: as in `as_dict`."""
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.left_out.items())
        left_out = sum(self.left_out.values())
        held_out = f"{len(self.test)} held out" if self.test else "none held out"
        told = f"{self.name}: {_count(trained + len(self.test), 'picture')} found, {trained} to train on, {held_out}"
        return f"{told} ({self.how})" + (f", {left_out} left out ({reasons})" if left_out else "")


def listed(name: str | Path) -> Folder:
    """The pictures of a folder and its folders; ValueError where there is no folder, or no picture."""
    root = _require_folder(name)
    layout = _layout(root)
    left_out: Counter[str] = Counter()
    if layout is None:
        found = _digests(_pictures(root, left_out), left_out)
        train = [file for file, digest in found.items() if not _is_held_out(digest)]
        test = [file for file, digest in found.items() if _is_held_out(digest)]
        how = "by a hash of their contents"
        if not train:
            train, test, how = test, [], "too few to hold some out"
    else:
        walked = _Walk(left_out)
        parts = [_digests(_pictures(part, left_out, walked), left_out) for part in layout]
        beside = _Walk(left_out, walked.folders)
        beside.into(root)
        left_out[BESIDE] += len(beside.files) + len(beside.own)
        train, test, found = list(parts[0]), list(parts[1]), parts[0] | parts[1]
        how = f"the folder {layout[1].name}"
        trained = set(parts[0].values())
        if both := sum(digest in trained for digest in parts[1].values()):
            warnings.warn(
                f"{_count(both, 'picture')} of {str(layout[1])!r} are also in {str(layout[0])!r}, so what is held out "
                "is trained on",
                stacklevel=2,
            )
    told = {reason: number for reason, number in left_out.items() if number}
    if not train:
        raise _nothing(layout[0] if layout else root, told)
    prints = {part: fingerprint(found[file] for file in files) for part, files in (("train", train), ("test", test))}
    return Folder(str(name), root, tuple(train), tuple(test), how, told, prints)


def by_order(folder: Folder) -> Folder:
    """The same pictures split as they once were: every fifth, in order of path, is for testing."""
    files = sorted([*folder.train, *folder.test])
    train = tuple(file for i, file in enumerate(files) if i % HELD_OUT != HELD_OUT - 1)
    test = tuple(files[HELD_OUT - 1 :: HELD_OUT])
    return replace(folder, train=train, test=test, how="every fifth", fingerprints={})


def image_files(path: str | Path) -> list[Path]:
    """Every picture of a folder and its folders, of whatever split, sorted; ValueError where there is none."""
    left_out: Counter[str] = Counter()
    root = _require_folder(path)
    found = _pictures(root, left_out)
    if not found:
        raise _nothing(root, left_out)
    return found


def fingerprint(digests: Iterable[str]) -> str:
    """16 hexadecimal digits of the contents of some files, in whatever order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:16]


def missing(name: str | Path) -> str:
    """What to say of a folder that is not there: where it was looked for, and what is called alike beside it."""
    path = asked = _absolute(name)
    while not path.parent.exists():  # the first that is not there
        path = path.parent
    try:
        beside = sorted(name for name in os.listdir(path.parent) if (path.parent / name).is_dir())
    except OSError:
        return f"{asked} does not exist, nor can {path.parent} be read"
    near = difflib.get_close_matches(path.name, beside, n=3)
    short = "" if path == asked else f", nor does {path}"
    return f"{asked} does not exist{short}" + "".join(f"; there is {path.parent / each}" for each in near)


# --- finding ------------------------------------------------------------------------------------------------------


@dataclass
class _Walk:
    """What was found on the way through folders. folders, real: whatever was seen, by its place without links.

    restored: what lists of restored pictures name.
    """

    left_out: Counter[str]
    folders: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    own: list[Path] = field(default_factory=list)
    real: set[str] = field(default_factory=set)
    restored: set[str] = field(default_factory=set)

    def into(self, root: Path) -> None:
        """Walk through a folder that was asked for by name, whoever wrote it; in order of name, so that it repeats."""
        ahead, top = [root], Path(os.path.realpath(root))
        while ahead:
            folder = ahead.pop()
            place = os.path.realpath(folder)
            if place in self.folders:
                continue
            self.folders.add(place)
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                warnings.warn(f"left out the folder {str(folder)!r}, which cannot be read: {error}", stacklevel=2)
                self.left_out["unreadable folders"] += 1
                continue
            self.restored |= _restored(folder)
            below = []
            for entry in names:
                if os.path.isdir(entry.path):
                    below.append(entry)
                else:
                    self._file(entry)
            ahead += [Path(entry.path) for entry in reversed(below) if self._enters(entry, top, Path(place))]

    def _enters(self, entry: os.DirEntry[str], *inside: Path) -> bool:
        """Whether a folder below is walked through; the pictures of one that is left out are counted."""
        reason = HIDDEN if entry.name.startswith(".") else OWN if _is_own_folder(Path(entry.path)) else None
        if reason is not None:  # what lies behind a link is not the folder's, and is not counted
            self.left_out[reason] += 0 if entry.is_symlink() else _number_below(entry.path)
            return False
        # A link upwards would lead out of the folder and bring in what lies beside it.
        place = os.path.realpath(entry.path)
        return not any(folder.is_relative_to(place) for folder in inside)

    def _file(self, entry: os.DirEntry[str]) -> None:
        if not is_picture(entry.name):
            return
        place = os.path.realpath(entry.path)
        if entry.name.startswith("."):
            self.left_out[HIDDEN] += 1
        elif not os.path.isfile(entry.path):
            self.left_out[BROKEN] += 1
        elif place in self.real:
            self.left_out[TWICE] += 1
        else:
            self.real.add(place)
            is_own = place in self.restored or _is_own_picture(entry.path)
            (self.own if is_own else self.files).append(Path(entry.path))


def _pictures(root: Path, left_out: Counter[str], walked: _Walk | None = None) -> list[Path]:
    """The pictures of a folder, sorted. walked: what other walks have seen, which this one is added to."""
    walk = _Walk(left_out)
    if walked is not None:
        walk.folders = walked.folders
    walk.into(root)
    # Somebody who names a folder of samples wants these; one who names the folder above it does not.
    own = _is_own_folder(root) or (root / RESTORED).is_file()
    asked_for = walk.own if own else [file for file in walk.own if file.parent == root]
    if walk.files or not asked_for:
        left_out[OWN] += len(walk.own)
        return sorted(walk.files)
    left_out[OWN] += len(walk.own) - len(asked_for)
    return sorted(asked_for)


def is_picture(name: str) -> bool:
    """Whether a file's name ends like that of an image that Pillow reads."""
    return Image.registered_extensions().get(os.path.splitext(name)[1].lower()) in Image.OPEN


def _is_own_folder(folder: Path) -> bool:
    is_run = (folder / "record.json").is_file() and any((folder / name).exists() for name in OF_A_RUN)
    return is_run or (folder / SAMPLES).is_file()


def _restored(folder: str | Path) -> set[str]:
    """The files that the list of restored pictures in a folder names, by their places without links."""
    try:
        entries = json.loads((Path(folder) / RESTORED).read_text(encoding="utf-8"))["pictures"].values()
        return {os.path.realpath(Path(folder) / file) for entry in entries for file in entry["outputs"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _is_own_picture(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:  # whoever reads it will say so
        return False
    return head.startswith(b"\x89PNG") and WRITTEN in head


def _number_below(folder: str) -> int:
    return sum(is_picture(name.lstrip(".")) for _, _, names in os.walk(folder) for name in names)


def _is_held_out(digest: str) -> bool:
    return int(digest[:12], 16) % HELD_OUT == 0


def _layout(root: Path) -> tuple[Path, Path] | None:
    """The folders to train on and to test on, where they are directly below; of two that differ in case the first."""
    names = sorted((name for name in os.listdir(root) if (root / name).is_dir()), reverse=True)
    below = {name.casefold(): root / name for name in names}
    test = next((below[name] for name in TESTS if name in below), None)
    return None if TRAIN not in below or test is None else (below[TRAIN], test)


def _digests(files: list[Path], left_out: Counter[str]) -> dict[Path, str]:
    """SHA-256 of each file that can be opened; one that cannot is warned about."""
    found = {}
    for file in files:
        try:
            with file.open("rb") as opened:
                found[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            warnings.warn(f"left out {str(file)!r}, which cannot be read: {error}", stacklevel=3)
            left_out[UNREADABLE] += 1
    return found


# --- words --------------------------------------------------------------------------------------------------------


def _absolute(name: str | Path) -> Path:
    return Path(os.path.abspath(Path(name).expanduser()))


def _require_folder(name: str | Path) -> Path:
    path = _absolute(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(
            f"{str(name)!r} is a file; expected a folder of pictures or the name of a data set. To train on this one, "
            f"put it in a folder of its own; for all that are beside it, give {str(path.parent)!r}"
        )
    raise ValueError(f"there is no folder {str(name)!r}: {missing(name)}")


def _nothing(root: Path, left_out: Mapping[str, int]) -> ValueError:
    told = ", ".join(f"{number} {reason}" for reason, number in left_out.items() if number)
    own = ". To use what bdbook made, name the folder that holds it" if left_out.get(OWN) else ""
    return ValueError(
        f"no images below {str(root)!r}: looked for files such as .png, .jpg, .webp and .tiff, in it and in the "
        f"folders below it" + (f"; left out were {told}" if told else "") + own
    )


def _count(number: int, of: str) -> str:
    return f"{number} {of}" + ("" if number == 1 else "s")
