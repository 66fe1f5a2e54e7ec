"""What CONTRIBUTING.md says works: its code is run, and what it makes obeys the laws of the library."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import papermill
import pytest
import stage
import test_repository
import torch
from PIL import Image
from reference import dct, idct, lam

import bdbook
from bdbook import data
from bdbook.data.embedded import EMBEDDED

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", TEXT, re.MULTILINE))
TEMPLATE = ROOT / "book" / "chapter_template.ipynb"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    """What the blocks leave, one after the other, in a folder of their own."""
    known, here, folder = dict(EMBEDDED), Path.cwd(), tmp_path_factory.mktemp("contributed")
    sys.modules["contributed"] = ModuleType("contributed")  # what is made there can be pickled
    names = vars(sys.modules["contributed"])
    os.chdir(folder)
    try:
        for title, section in SECTIONS.items():
            for block in re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
                exec(compile(block, f"CONTRIBUTING.md, {title}", "exec"), names)
        yield names | {"folder": folder}
    finally:
        os.chdir(here)
        EMBEDDED.clear()
        EMBEDDED.update(known)
        del sys.modules["contributed"]


def test_it_is_short_and_each_list_too():
    assert len(TEXT.splitlines()) < 120
    assert list(SECTIONS) == ["Set up, and test", "A process", "A rule of sampling", "A data set", "A chapter"]
    for title, section in list(SECTIONS.items())[1:]:
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)), title
        assert 4 <= len(numbers) <= 8


def test_files_and_names_that_it_mentions_are_there():
    mentioned = re.findall(r"`((?:bdbook|book|tests|results)/[\w/.]+)`", TEXT) + re.findall(r"\]\((\S+)\)", TEXT)
    assert len(mentioned) > 12
    assert [path for path in mentioned if not (ROOT / path).exists()] == []
    for name, path in (
        ("PROCESSES", "bdbook/processes.py"),
        ("METHODS", "bdbook/recipes/book.py"),
        ("PALETTE", "bdbook/page/palette.py"),
        ("BOOK_DATA", "bdbook/recipes/book.py"),
        ("RULES", "bdbook/samplers.py"),
        ("RULES", "bdbook/page/widgets/one_step.py"),
        ("DATASETS", "bdbook/data/huggingface.py"),
        ("NAMES", "tests/test_data.py"),
    ):
        assert f"`{name}`" in TEXT
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), path


# --- a process ------------------------------------------------------------------------------------------------


def test_the_process_is_a_value(made):
    process = made["process"]
    assert process == made["Fading"](16) == pickle.loads(pickle.dumps(process)) == eval(repr(process), made)
    assert replace(process, strength=4.0) != process
    with pytest.raises(FrozenInstanceError):
        process.strength = 4.0


def test_the_process_is_what_its_docstring_says(made):
    process, t = made["process"], 0.3
    x0, noise = np.random.default_rng(0).standard_normal((2, 3, 1, 16, 16))
    expected = idct(np.exp(-8 * lam((16, 16)) * t) * dct(x0)) + t * noise
    ours = process.sample(torch.from_numpy(x0), torch.full((3,), t, dtype=torch.float64), torch.from_numpy(noise))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"t was 1\.5"):
        process.alpha(1.5)


def test_the_process_was_trained_into_a_folder(made):
    assert made["run"].record["step"] == 2
    again = bdbook.load_run(made["folder"] / "runs" / "fading", process=replace(made["process"], strength=5.0))
    assert torch.equal(again.draw(2, seed=0, steps=3), made["run"].draw(2, seed=0, steps=3))


# --- a rule ---------------------------------------------------------------------------------------------------


def test_the_rule_keeps_the_noise_at_its_level_and_is_its_docstring(made):
    rule, process = made["fresh_at_first"], made["process"]
    for t, s in ((1.0, 0.9), (0.5, 0.4), (torch.tensor([0.7, 0.2]), torch.tensor([0.1, 0.1]))):
        carry, refresh = rule(process, t, s)
        _, sigma_t, _, sigma_s = process.coefficients(t, s)
        assert carry.dtype == refresh.dtype == torch.float64
        torch.testing.assert_close(carry**2 * sigma_t**2 + refresh**2, sigma_s**2, rtol=1e-12, atol=0)
    carry, refresh = rule(process, 0.5, 0.4)
    assert carry.item() == pytest.approx(0.5 * 0.4 / 0.5)
    assert refresh.item() == pytest.approx(0.4 * 0.75**0.5)
    assert rule(process, 1.0, 0.9)[0].item() == 0
    assert made["clouds"].shape == (4, 1, 16, 16)
    assert made["clouds"].isfinite().all()


# --- a data set -----------------------------------------------------------------------------------------------


def test_the_data_set_keeps_the_promises_of_all(made):
    images = made["images"]
    assert images.shape == (8, 3, 16, 24)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert torch.equal(images[:5], data.load("checks", (16, 24), channels=3, count=5, split="test"))
    assert not torch.equal(images, data.load("checks", (16, 24), channels=3, count=8))
    assert not torch.equal(images, data.load("checks", (16, 24), channels=3, count=8, split="test", seed=1))
    for image in images:  # two grey levels, one the other's negative
        assert torch.equal(image.unique(), torch.tensor([-1, 1]) * image.abs().max())


def test_a_folder_of_pictures_needs_no_code(tmp_path):
    colours = {"train": [0, 51, 102, 153], "test": [255]}
    for split, greys in colours.items():
        (tmp_path / split).mkdir()
        for number, grey in enumerate(greys):
            Image.new("L", (40, 30), grey).save(tmp_path / split / f"{number}.png")
    for split, greys in colours.items():
        images = data.load(tmp_path, 32, split=split)
        assert images.shape == (len(greys), 1, 32, 32)
        np.testing.assert_allclose(images[:, 0, 0, 0], np.array(greys) / 127.5 - 1, atol=1e-6)


# --- a chapter ------------------------------------------------------------------------------------------------


def test_the_template_is_no_chapter():
    assert TEMPLATE.name not in test_repository.NOTEBOOKS
    assert not any("template" in file for file in test_repository.toc_files())
    assert TEMPLATE.suffix in stage.MAKERS
    chapters = subprocess.run(
        ["make", "-n", "-s", "-p", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": ""},
    ).stdout
    listed = re.search(r"^CHAPTERS := (.*)$", chapters, re.MULTILINE)[1].split()
    assert sorted(f"{name}.ipynb" for name in listed) == test_repository.NOTEBOOKS


def test_the_template_is_as_clean_as_a_chapter_and_has_its_rhythm(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(TEMPLATE, tmp_path / "notebooks" / "18_my_question.ipynb")
    monkeypatch.setattr(test_repository, "ROOT", tmp_path)
    for law in (
        test_repository.test_notebook_is_committed_without_what_running_it_leaves,
        test_repository.test_notebook_metadata_names_the_kernel_that_the_build_uses,
        test_repository.test_notebook_has_one_parameters_cell,
    ):
        law("18_my_question.ipynb")
    cells = json.loads(TEMPLATE.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    parts = ["**The question.**", "plots.row(", "{prf:proposition}", "{prf:proof}", "listing(", "assert ", "{exercise}"]
    places = [text.index(part) for part in [*parts, "{solution}", "## What the sources say"]]
    assert places == sorted(places)


def test_the_template_runs_as_a_chapter_does(monkeypatch, tmp_path):
    monkeypatch.setenv("BDBOOK_PROFILE", "smoke")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    chapter = tmp_path / "18_my_question.ipynb"
    papermill.execute_notebook(TEMPLATE, chapter, cwd=tmp_path, kernel_name="python3", progress_bar=False)
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    printed = "".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))
    assert "all as the proposition says" in printed
    shares = [int(share) for share in re.findall(r"t = [\d.]+: (\d+)%", printed)]
    assert len(shares) == 4
    assert shares[-1] > shares[0]
