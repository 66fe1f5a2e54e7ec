"""Write what the live sampler loads: python book/live.py FOLDER

Every file is gzipped and cut into pieces of base64, each a classic script, since a page opened from a file may run
scripts and fetch nothing; contents.js says how many pieces a file has, and their size. See bdbook/page/js/assets.js.
"""

import base64
import gzip
import json
import sys
from pathlib import Path

from bdbook import files
from bdbook.page import live

PIECE = 1 << 20


def write(folder: Path) -> None:
    """All files of `bdbook.page.live`, in pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for name in live.names():
        text = base64.b64encode(gzip.compress(live.read(name), mtime=0)).decode()
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        for number, piece in enumerate(pieces):
            files.write_atomically(folder / f"{name}.{number}.js", f'bdbookPieces["{name}.{number}"] = "{piece}";\n')
        contents[name] = {"pieces": len(pieces), "bytes": len(text)}
    files.write_atomically(folder / "contents.js", f"bdbookPieces.contents = {json.dumps(contents)};\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
