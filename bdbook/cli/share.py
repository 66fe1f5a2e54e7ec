"""bdbook share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from bdbook.cli.telling import tell
from bdbook.training import sharing


@dataclass(frozen=True)
class Share:
    """Write a trained run as a folder to share: safetensors, config.json and a model card; nothing is uploaded.

    The client of the Hugging Face hub, huggingface_hub, uploads it: hf upload NAME FOLDER. Whoever has the folder reads
    it with bdbook.load_run(FOLDER), or as any command's --run.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder, or a weights file."""
    out: Path
    """The folder to write; it must be empty, or not there."""
    license: str | None = None
    """Under which the weights are given, as the hub spells it: mit, cc-by-4.0; default: the card says there is none."""

    def run(self) -> None:
        folder = sharing.share(self.run_folder, self.out, self.license)
        tell(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}\nupload: hf upload NAME {folder}")
