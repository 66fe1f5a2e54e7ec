"""The page of the library by name: nothing public is missing, docstrings stay what they say, links lead somewhere."""

import ast
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import api
import docstrings
import ledgers
import pytest
from bs4 import BeautifulSoup

import bdbook

ROOT = Path(__file__).resolve().parents[1]
PAGE = api.page()
HTML = BeautifulSoup(PAGE, "html.parser")
IDS = [node["id"] for node in HTML.find_all(id=True)]
# The command says what it does itself: bdbook --help.
MODULES = sorted(
    path for path in (ROOT / "bdbook").rglob("*.py") if path.stem not in api.LEFT_OUT and path.parent.name != "cli"
)


def dotted(path: Path) -> str:
    """The name by which a file of the library is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__call__"


def definitions(path: Path) -> dict[str, str]:
    """Dotted name -> docstring, of a file's public functions and classes and of their documented methods."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and is_public(node.name):
            found[f"{dotted(path)}.{node.name}"] = ast.get_docstring(node) or ""
            for part in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(part, ast.FunctionDef) and is_public(part.name) and ast.get_docstring(part):
                    found[f"{dotted(path)}.{node.name}.{part.name}"] = ast.get_docstring(part)
    return found


def words(text: str) -> str:
    """Text less what only says how it is set: spaces, backquotes, roles, and the colons and rules of columns."""
    return re.sub(r" : |:\w+:(?=`)|-{3,}|[\s`]", "", text)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_definition_is_there_with_its_docstring(path):
    module = dotted(path)
    if module != "bdbook":  # it holds no names of its own
        assert module in IDS
    for name, text in definitions(path).items():
        assert name in IDS
        entry = HTML.find(id=name).parent
        assert words(text) in words(entry.get_text()), name


def test_every_anchor_is_there_once_and_is_a_name_of_the_library():
    assert len(IDS) == len(set(IDS)) > 500
    for anchor in IDS:
        pkgutil.resolve_name(anchor)


def test_every_link_on_the_page_leads_to_an_anchor():
    links = [node["href"] for node in HTML.find_all("a", href=re.compile("^#"))]
    assert len(links) > 400
    assert {link.removeprefix("#") for link in links} <= set(IDS)


@pytest.fixture(scope="module")
def equations(tmp_path_factory):
    """The page of the ledger of equations."""
    return ledgers.write(tmp_path_factory.mktemp("ledgers"))["equations"].read_text()


@pytest.mark.parametrize("entry", ledgers.read()["equations"], ids=lambda entry: entry["id"])
def test_every_function_of_the_ledger_has_its_anchor_and_a_link_to_it(entry, equations):
    for name in entry["code"]:
        assert name in IDS
        assert f'href="api.html#{name}"' in equations


@pytest.mark.parametrize("name", [name for name in bdbook.__all__ if not name.startswith("_")])
def test_an_everyday_name_is_there_and_listed_at_the_top(name):
    thing = getattr(bdbook, name)
    if isinstance(thing, ModuleType):
        assert thing.__name__ in IDS
        return
    links = {link.get_text(): link["href"].removeprefix("#") for link in HTML.find(class_="bd-everyday").find_all("a")}
    assert pkgutil.resolve_name(links[name]) is thing
    assert links[name] in IDS


def test_nothing_on_the_page_is_of_this_machine():
    assert str(ROOT) not in PAGE
    assert not re.search(r" at 0x[0-9a-f]+", PAGE)


def test_the_page_is_the_same_each_time_and_nothing_else_is_left(tmp_path):
    assert api.write(tmp_path).read_text(encoding="utf-8") == PAGE
    assert [path.name for path in tmp_path.iterdir()] == ["api.md"]


def test_modules_come_in_reading_order():
    place = {name: number for number, name in enumerate(re.findall("^### (.+)", PAGE, re.MULTILINE))}
    core = [place[name] for name in ("transforms", "schedules", "processes", "denoiser", "samplers", "oracle", "unet")]
    assert core == sorted(core)
    assert (
        place["data"] < place["data.embedded"] < place["data.huggingface"] < place["recipes"] < place["training.loop"]
    )


# --- signatures and docstrings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "samplers.ancestral",
            "ancestral(process: Degradation, t: Time, s: Time) → tuple[PerFrequency, PerFrequency]#",
        ),
        ("samplers.ihdm", "ihdm(delta: float = 0.025) → Rule#"),
        ("processes.DDPM", "class DDPM(steps: int = 1000, basis: Basis = Pixel(), *, name: str = 'ddpm')#"),
        ("processes.Process.noisy", "property noisy: bool#"),
        ("recipes.recipe.Recipe.from_dict", None),
        ("transforms.Basis", "class Basis#"),
        ("denoiser.Prediction", "class Prediction#"),
        ("processes.IHDM_DELTA", "IHDM_DELTA = 0.025"),
        ("denoiser.X0", "X0 = PredictX0()"),
    ],
)
def test_signatures_are_as_they_are_written(name, text):
    shown = HTML.find(id=f"bdbook.{name}").get_text()
    assert shown == text or (text is None and shown.startswith("classmethod from_dict(stored: "))


def test_an_alias_leads_to_what_it_is_another_name_of():
    entry = HTML.find(id="bdbook.processes.ddpm").find_parent(class_="bd-entry")
    assert entry.p["id"] == "bdbook.processes.DDPM"
    assert entry.find(class_="bd-also").get_text() == "a Process; also called ddpm"


KNOWN = frozenset({"bdbook", "bdbook.samplers", "bdbook.samplers.step", "bdbook.samplers.Step", "bdbook.unet.UNet"})


def rendered(text: str, *terms: str) -> str:
    return docstrings.prose(text, "bdbook.samplers.sample", KNOWN, frozenset(terms))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u_t and *x* and |u| = |x|, V' x < y & z.", "<p>u_t and *x* and |u| = |x|, V' x &lt; y &amp; z.</p>"),
        ("One\nline.\n\nAnother.", "<p>One line.</p>\n<p>Another.</p>"),
        ("So\n\n    a  = b\n      + c\n\nends.", "<p>So</p>\n<pre>a  = b\n  + c</pre>\n<p>ends.</p>"),
        ("`step(x)` or `samplers.step`", None),
        ("`UNet`, `nothing`", '<p><a href="#bdbook.unet.UNet"><code>UNet</code></a>, <code>nothing</code></p>'),
        (":func:`step`", '<p><a href="#bdbook.samplers.step"><code>step</code></a></p>'),
        ('blur: "sin2" or "a word".', '<p>blur: <code>"sin2"</code> or "a word".</p>'),
        ("size   side\n       in px\nt      time", None),
        ("a.png   one\nb.png", "<dl><dt><code>a.png</code></dt><dd>one</dd><dt><code>b.png</code></dt><dd></dd></dl>"),
        ("lonely", "<p>lonely</p>"),
        ("Parameters\n----------\nt : time.\nleft, right : a dict\n    rule : its name;", None),
    ],
)
def test_docstrings_are_set_as_they_are_meant(text, expected):
    link = '<a href="#bdbook.samplers.step"><code>{}</code></a>'
    special = {
        "`step(x)` or `samplers.step`": f"<p>{link.format('step(x)')} or {link.format('samplers.step')}</p>",
        "size   side\n       in px\nt      time": (
            "<dl><dt><code>size</code></dt><dd>side in px</dd><dt><code>t</code></dt><dd>time</dd></dl>"
        ),
    }
    numpydoc = (
        '<p class="bd-also">Parameters</p>\n<dl><dt><code>t</code></dt><dd>time.</dd>'
        "<dt><code>left, right</code></dt><dd>a dict<br>rule : its name;</dd></dl>"
    )
    assert rendered(text) == (expected or special.get(text, numpydoc))


def test_arguments_that_a_text_explains_are_marked_and_lead_nowhere():
    assert rendered("x, t: both. step: a step. y: no.", "x", "t", "step") == (
        "<p><code>x, t</code>: both. <code>step</code>: a step. y: no.</p>"
    )
    assert rendered("All of `step`.", "step") == "<p>All of <code>step</code>.</p>"
