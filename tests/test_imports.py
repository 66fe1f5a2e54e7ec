"""The house seen from its imports: one direction, no circle, a core that knows no data set; the tree of the README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "bdbook"
# A folder may import those before it in this list, and itself. The core is the files of bdbook/ itself.
LAYERS = ("core", "data", "recipes", "adapters", "training", "evaluation", "conformance", "spectra")
LAYERS += ("page", "sweep", "cli")
# Of bdbook/ what is not the core: the command.
COMMAND = {"cli", "__main__"}


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The library's modules that a file imports, anywhere in it: within functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found |= {inner} if inner in known else {node.module} & known.keys()
    return found - {"bdbook"}  # which imports none of them


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of imports, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := visit(other, [*path, name]):
                return found
        done.add(name)
        return []

    for name in graph:
        if found := visit(name, []):
            return found
    return []


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imported(path, known) - {name} for name, path in known.items()}


def test_there_is_no_circle():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"], "circles are found"
    assert circle(graph()) == []


def layer(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in COMMAND:
        return "cli" if len(parts) > 1 else "core"
    return parts[1] if parts[1] in LAYERS else "core"


@pytest.mark.parametrize("module", sorted(graph()))
def test_imports_go_one_way(module):
    mine = LAYERS.index(layer(module))
    upwards = {other for other in graph()[module] if LAYERS.index(layer(other)) > mine}
    assert not upwards, f"{module} ({layer(module)}) imports {upwards}"


def test_the_core_knows_no_data_set_and_no_picture_of_a_figure():
    code = (
        "import sys, bdbook\n"
        "for name in ('processes degradations cold denoiser losses samplers guesses timegrids oracle mixtures priors '"
        "'likelihood unet adapters').split(): getattr(bdbook, name)\n"
        "print([m for m in sys.modules if m.startswith(('bdbook.data', 'bdbook.page', 'bdbook.training', "
        "'matplotlib', 'skimage', 'sklearn', 'diffusers'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert told.strip() == "[]"


def test_import_bdbook_imports_no_torch():
    there = "print('torch' in sys.modules)"
    code = f"import sys, bdbook; {there}; bdbook.sample; {there}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert told.split() == ["False", "True"]


def test_every_name_that_bdbook_lends_is_there():
    import bdbook

    for name in bdbook.__all__:
        assert getattr(bdbook, name) is not None, name
    lent = {"sample", "last", "processes", "fit", "load_run", "recipes", "Gaussian", "Denoiser", "UNet", "DCT", "EPS"}
    assert lent <= set(bdbook.__all__)
    with pytest.raises(AttributeError, match="Gausian"):
        bdbook.Gausian  # noqa: B018


def test_the_tree_of_the_readme_is_the_tree_on_disk():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"```text\n(bdbook/.*?)```", readme, re.DOTALL)
    shown, folder = {}, ""
    for line in tree.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = name
            shown[folder] = set()
        elif line.startswith("  ") and not line.startswith("   "):
            shown[folder] |= set(re.match(r"((?:[\w.]+/?(?:, )?)+)", line.strip())[1].split(", "))
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    there: dict[str, set[str]] = {}
    for path in tracked:
        first, _, rest = path.partition("/")
        if rest and not first.startswith("."):
            there.setdefault(f"{first}/", set()).add(rest.partition("/")[0] + ("/" if "/" in rest else ""))
    assert shown.keys() == there.keys()
    inside = {name for name in there["bdbook/"] if name.endswith((".py", "/")) and not name.startswith("__")}
    assert shown["bdbook/"] == inside


def test_the_readme_says_how_much_there_is_to_read():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(
        r"is the line above in code: (.*?), some (\d+) lines. The whole core has some (\d+)", text, re.DOTALL
    )
    assert found is not None
    lines = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in LIBRARY.glob("*.py")}
    evening = sum(lines[name] for name in re.findall(r"`(\w+)`", found[1]))
    core = sum(count for name, count in lines.items() if name not in COMMAND | {"__init__"})
    assert abs(evening - int(found[2])) <= 100
    assert abs(core - int(found[3])) <= 100
