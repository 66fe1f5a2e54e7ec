"""The number and the title of every chapter, for all that name one: sidebar, page, landing page, search, PDF.

The number is that of the notebook's file, `17_paper_scale.ipynb`, wherever it stands in the contents; the title is the
notebook's first heading. The notebooks themselves carry no number: the book's pages get it while staging (stage.py).
"""

from pathlib import Path


def number(name: str) -> int:
    """The number of the chapter whose file is `name`, with or without folder and ending."""
    stem = Path(name).name
    if not stem[:2].isdigit():
        raise ValueError(f"{name} has no number; expected the file of a chapter, such as 09_tacos.ipynb")
    return int(stem[:2])


def title(name: str, notebook: dict) -> str:
    """The title of the notebook `name`: its first line, a heading."""
    first, *_ = "".join(notebook["cells"][0]["source"]).splitlines() or [""]
    if not first.startswith("# "):
        raise ValueError(
            f"{name} begins with {first!r}; expected its title, '# ...', in the first line of its first cell"
        )
    return first.removeprefix("# ").strip()


def numbered(name: str, notebook: dict) -> str:
    """What readers see: "9 · TACoS"."""
    return f"{number(name)} · {title(name, notebook)}"


def with_number(name: str, notebook: dict) -> None:
    """Put the number into the notebook's own title."""
    cell, heading = notebook["cells"][0], numbered(name, notebook)
    _, *rest = "".join(cell["source"]).splitlines(keepends=True)
    cell["source"] = [f"# {heading}\n", *rest]
