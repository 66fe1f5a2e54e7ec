"""What pyproject.toml cannot say: a wheel carries the recorded runs and the chapters too, in bdbook/shipped."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "notebooks/*.ipynb",
    "results/*/metrics.json",
    "results/*/record.json",
    "results/*/log.jsonl",
    "results/*/*.png",
    "results/*/weights.safetensors",
    "results/*/start.safetensors",
    "results/*/opening.safetensors",
    "results/laboratory/*.json",
    "results/laboratory/*.safetensors",
    "results/grids/*.yml",
)


def shipped() -> list[str]:
    return [file.as_posix() for pattern in SHIPPED for file in sorted(Path().glob(pattern))]


class BuildShipped(build_py):
    """Copies them where bdbook.files looks for them; an editable installation has the checkout's own."""

    def get_source_files(self) -> list[str]:
        """What an sdist carries, so that a wheel built from it is the same."""
        return super().get_source_files() + shipped()

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "bdbook", "shipped")
        shutil.rmtree(target, ignore_errors=True)  # an earlier build's
        for file in shipped():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / file)


setup(cmdclass={"build_py": BuildShipped})
