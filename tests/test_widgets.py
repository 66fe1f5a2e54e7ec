"""The sliders as Python objects: traits, errors, and the two mounts in one MIME bundle."""

import base64
import inspect
import io
import json
import re
from html import unescape

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from bdbook import cold, degradations, samplers, schedules
from bdbook.data import photograph, power_law_variance
from bdbook.page import recorded, widgets
from bdbook.page.widgets import (
    BlurDiffusionSlider,
    BlurringSlider,
    CarrySlider,
    ClocksSlider,
    LaboratorySlider,
    LiveSampler,
    Playground,
    PointsPlayground,
    RestorationSlider,
    SeveritySlider,
    SpectrumSlider,
    SystemsFilm,
    ThereAndBack,
    base,
    film,
    one_step,
    severity,
)

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
FIGURES = [
    BlurringSlider, BlurDiffusionSlider, LaboratorySlider, CarrySlider, ClocksSlider, RestorationSlider, SeveritySlider,
    SpectrumSlider, SystemsFilm, PointsPlayground,
]  # fmt: skip
LOADING = [LiveSampler, ThereAndBack]  # networks, when a reader asks
WITH_PHOTO = [BlurringSlider, BlurDiffusionSlider, CarrySlider, ClocksSlider, RestorationSlider, SeveritySlider]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def fresh_page():
    widgets.new_page()
    yield
    widgets.new_page()


def pixels(slider: BlurringSlider) -> np.ndarray:
    """What the page receives, (size, size, 3)."""
    raw = np.frombuffer(base64.b64decode(slider.state()["_photo"]), np.uint8)
    return raw.reshape(slider.size, slider.size, 3)


def programs(html: str) -> list[str]:
    return re.findall(r'<script type="text/plain" id="([^"]+)">', html)


def test_python_sees_and_sets_the_state():
    slider, seen = BlurringSlider(sigma_max=3), []
    slider.observe(lambda change: seen.append(change.new), "sigma_max")
    slider.sigma_max = 7.5
    assert seen == [7.5]
    assert slider.state() | {"_photo": ""} == {
        "sigma_max": 7.5, "t": 0.5, "d_min": 1e-3, "schedule": "sin2", "size": 64, "link": "", "_photo": "",
    }  # fmt: skip


@pytest.mark.parametrize("figure", [*FIGURES, *LOADING, Playground])
def test_the_signature_says_with_what_a_figure_starts_and_the_docstring_what_that_is(figure):
    parameters, state = inspect.signature(figure).parameters, figure().state()
    assert {name for name in state if name[0] != "_"} - {"size", "systems"} <= set(parameters)
    for name, parameter in parameters.items():
        assert name not in state or state[name] == parameter.default
        assert name in state or parameter.default is None
    _, listed, _ = inspect.getdoc(figure).split("\n\n")[-3:]
    names = re.findall(r"^(\w+(?:, \w+)*) : ", listed.partition("----------\n")[2], re.MULTILINE)
    assert sorted(", ".join(names).split(", ")) == sorted(parameters)


@pytest.mark.parametrize("figure", [*FIGURES, *LOADING, Playground])
def test_a_setting_that_a_figure_does_not_have_is_refused(figure):
    for wrong in ("linc", "_Link", "layout"):
        with pytest.raises(TypeError, match=f"unknown setting of {figure.__name__} '{wrong}'.*Known: .*link.*"):
            figure(**{wrong: "a"})
    with pytest.raises(TypeError, match="did you mean 'link'"):
        figure(linc="a")


@pytest.mark.parametrize("figure", [SystemsFilm, LiveSampler])
def test_the_size_of_what_was_recorded_is_fixed(figure):
    with pytest.raises(TypeError, match=f"unknown setting of {figure.__name__} 'size'"):
        figure(size=32)


def test_a_small_picture_has_a_mode_to_show():
    assert CarrySlider(size=8).mode == 7
    assert CarrySlider(size=8, mode=3).mode == 3
    with pytest.raises(traitlets.TraitError, match="mode is 8; expected k from 1 to 7"):
        CarrySlider(size=8, mode=8)
    with pytest.raises(traitlets.TraitError, match="size"):
        CarrySlider().size = 8


LIMITS = {  # of every figure that has the trait
    "sigma_max": [(-1.0, r"-1\.0; expected a blur of 0 px or more"), (float("nan"), "nan"), (float("inf"), "inf")],
    "t": [(1.5, r"1\.5; expected a time in [\[(]0, 1\]"), (-0.1, r"-0\.1")],
    "width": [(0.4, r"0\.4; expected a blur of 0\.5 samples or more"), (float("nan"), "nan"), (float("inf"), "inf")],
    "d_min": [(0.0, r"0\.0; expected a value in \(0, 1\)"), (1.0, r"1\.0")],
    "schedule": [("sine2", '.*Did you mean "sin2"'), ("Sin", '.*Did you mean "sin"')],
    "f_type": [("quartik", '.*Did you mean "quartic"')],
    "f_max": [(-0.1, r"-0\.1; expected f\(N\) of 0 or more"), (float("inf"), "inf")],
    "kernel_sigma": [(0.0, r"0\.0; expected a width in \(0, 8\]"), (9.0, r"9\.0")],
    "boundary": [("zeros", '.*Did you mean "zero"')],
    "process": [("blurring", '.*"cosine", "blurring_sin2" or "blurring_sin"')],
    "rule": [("ddpm", '.*Did you mean "ddim"')],
    "order": [(3, "3; expected order 1 or 2"), (0, "0")],
    "steps": [(0, "0; expected"), (2000, "2000")],
    "rho": [(-0.1, r"-0\.1; expected a part in \[0, 1\]"), (1.01, r"1\.01")],
    "epsilon": [(0.0, r"0\.0; expected a value in \(0, 1\]"), (1.5, r"1\.5"), (float("nan"), "nan")],
    "bias": [(-0.1, r"-0\.1; expected a standard deviation in \[0, 1\]"), (1.5, r"1\.5")],
    "degradation": [("blurr", '.*"noise" or "animorphosis". Did you mean "blur"'), ("cat", '.*expected "blur"')],
    "way": [("backwards", '.*expected "forward" or "backward". Did you mean "backward"')],
    "data": [("moon", '.*"letters" or "own". Did you mean "moons"')],
    "angle": [(90.5, r"90\.5; expected an angle from -90 to 90 degrees"), (float("nan"), "nan")],
    "bend": [(-3.1, r"-3\.1; expected a power from -3 .* to 3"), (float("nan"), "nan")],
    "seed": [(-1, "-1; expected a whole number from 0")],
    "mode": [(0, "0; expected k from 1 to 63"), (64, "64")],
    "kept": [({"rule": "ddim"}, "rule; expected all of process, sigma_max, d_min, steps, rule, order")],
}
BAD = [(f, n, v, m) for f in FIGURES for n, cases in LIMITS.items() if f.class_traits().get(n) for v, m in cases]


@pytest.mark.parametrize(("figure", "name", "value", "message"), BAD)
def test_bad_values_are_refused_and_leave_the_old(figure, name, value, message):
    message = f'{name} (is|has) "?{message}'
    with pytest.raises(traitlets.TraitError, match=message):
        figure(**{name: value})
    slider = figure()
    before = getattr(slider, name)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(slider, name, value)
    assert getattr(slider, name) == before


def test_a_kept_setting_is_checked_value_by_value():
    good = {"process": "cosine", "sigma_max": 0.0, "d_min": 1e-3, "steps": 5, "rule": "ddim", "order": 2}
    assert LaboratorySlider(kept=good).state()["kept"] == good
    with pytest.raises(traitlets.TraitError, match="order is 7"):
        LaboratorySlider(kept=good | {"order": 7})


def test_names_are_the_librarys():
    assert set(one_step.RULES) == set(samplers.RULES)
    for f_type in schedules.F_TYPES:
        assert BlurDiffusionSlider(f_type=f_type).f_type == f_type


@pytest.mark.parametrize("figure", [LaboratorySlider, CarrySlider, ClocksSlider])
def test_the_spectrum_is_the_power_law_or_the_readers_own(figure):
    np.testing.assert_array_equal(figure(size=8).state()["_variance"], power_law_variance(8).ravel())
    own = RNG.uniform(1, 2, (1, 1, 8, 8))
    np.testing.assert_array_equal(figure(size=8, variance=own).state()["_variance"], own.ravel())
    for wrong, message in [(own[0], r"shape \(1, 8, 8\); expected \(1, 1, 8, 8\)"), (0 * own, "lowest value of 0")]:
        with pytest.raises(traitlets.TraitError, match=message):
            figure(size=8, variance=wrong)
    with pytest.raises(traitlets.TraitError, match="size is 65"):
        figure(size=65)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((64, 64)), r"shape \(64, 64\); expected \(3, H, W\) or \(1, H, W\)"),
        (np.zeros((64, 64, 3)), r"shape \(64, 64, 3\)"),
        (np.zeros((1, 3, 64, 64)), r"shape \(1, 3, 64, 64\)"),
        (np.zeros((3, 0, 64)), r"shape \(3, 0, 64\)"),
        (np.full((3, 8, 8), 255.0), r"values from 255 to 255; expected \[-1, 1\]"),
        (np.full((3, 8, 8), np.nan), "values from nan to nan"),
    ],
)
@pytest.mark.parametrize("figure", [*WITH_PHOTO, SystemsFilm])
def test_bad_photos_are_refused(figure, photo, message):
    with pytest.raises(traitlets.TraitError, match=message):
        figure(photo)


@pytest.mark.parametrize("figure", WITH_PHOTO)
@pytest.mark.parametrize("size", [7, 257])
def test_bad_sizes_are_refused(figure, size):
    with pytest.raises(traitlets.TraitError, match=f"size is {size}; expected 8 to "):
        figure(size=size)


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
def test_a_photo_of_the_right_size_arrives_unchanged(make):
    expected = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    photo = make(expected.transpose(2, 0, 1) / 127.5 - 1)
    np.testing.assert_array_equal(pixels(BlurringSlider(photo, size=16)), expected)


@pytest.mark.parametrize("figure", WITH_PHOTO)
def test_the_photo_that_is_shown_can_be_read_and_shown_again(figure):
    photo = torch.tensor(RNG.integers(0, 256, (3, 16, 16)), dtype=torch.float32) / 127.5 - 1
    slider = figure(photo, size=16)
    assert slider.photo.dtype == torch.float32
    torch.testing.assert_close(slider.photo, photo, rtol=0, atol=0)
    assert figure(slider.photo, size=16)._photo == slider._photo
    with pytest.raises(AttributeError, match="photo"):
        slider.photo = photo


def test_a_wide_grey_photo_is_cropped_to_its_centre_and_repeated_over_the_channels():
    photo = np.full((1, 16, 40), -1.0)
    photo[:, :, 12:28] = 1.0
    np.testing.assert_array_equal(pixels(BlurringSlider(photo, size=8)), np.full((8, 8, 3), 255))


@pytest.mark.parametrize("figure", [*WITH_PHOTO, SystemsFilm])
def test_the_default_photo_is_a_picture(figure):
    slider = figure()
    shown = pixels(slider)
    assert shown.shape == (slider.size, slider.size, 3)
    assert slider.size >= 32
    assert shown.std() > 30


def test_the_severity_slider_has_the_librarys_snow_and_a_cat():
    state = SeveritySlider(size=32).state()
    snow = degradations.Snow(32).draw(1, torch.Generator().manual_seed(severity.SNOW_SEED))
    field = np.frombuffer(base64.b64decode(state["_field"]), "<f4").reshape(1, 1, 32, 32)
    np.testing.assert_array_equal(field, snow.field.float())
    assert state["_vertical"] == bool(snow.vertical)
    cat = photograph("chelsea", 32).numpy().transpose(1, 2, 0)
    shown = np.frombuffer(base64.b64decode(state["_other"]), np.uint8).reshape(32, 32, 3)
    assert np.abs(shown / 127.5 - 1 - cat).mean() < 0.03
    own = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    state = SeveritySlider(other=own.transpose(2, 0, 1) / 127.5 - 1, size=16).state()
    assert base64.b64decode(state["_other"]) == own.tobytes()


def test_the_film_carries_the_recorded_walks_of_the_six_systems():
    films = SystemsFilm().state()["_films"]
    assert list(films) == ["ddpm", "heat", "blurring", "blur", "soft", "cold"]
    for system, run in film.RUNS.items():
        whole, shown = (
            np.asarray(Image.open(file), dtype=int)
            for file in (recorded.RESULTS / f"{run}-cpu" / "film.png", io.BytesIO(base64.b64decode(films[system])))
        )
        assert shown.shape == (4 * 16, whole.shape[1])
        lost = whole[: 4 * 16] - shown
        assert lost.min() >= 0
        assert lost.max() <= 3, "two of eight bits"


def test_a_film_that_was_not_recorded_is_asked_for(monkeypatch):
    monkeypatch.setitem(film.RUNS, "ddpm", "fashion-none")
    with pytest.raises(ValueError, match=r"fashion-none-cpu/film\.png is not there; .*record\.py --films"):
        SystemsFilm()


@pytest.mark.parametrize("size", [12, 48, 128])
def test_the_severity_slider_halves_its_picture(size):
    with pytest.raises(traitlets.TraitError, match=f"size is {size}; expected 8 to 64 pixels, a power of 2"):
        SeveritySlider(size=size)


def test_every_degradation_of_the_severity_slider_is_the_librarys():
    named = {name.replace("dct_", "") for name in cold.FACTORIES}
    assert set(severity.DEGRADATIONS) == named | {"animorphosis"}


@pytest.mark.parametrize("figure", FIGURES)
def test_the_bundle_is_one_module(figure):
    for text in map(str, (figure._esm, widgets.bundle("blurring.js"))):
        assert not re.search(r"^import ", text, re.MULTILINE)
        assert text.count("export default") == 1
        assert text.count("export function cosine(") == 1
        assert "</script" not in text  # either would end or derail the script element that holds it
        assert "<!--" not in text


def test_a_module_is_bundled_once_however_often_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "a.js").write_text("export const a = 1;\n")
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\nexport const b = a;\n')
    (tmp_path / "c.js").write_text('import {\n  a,\n} from "./a.js";\nimport { b } from "./b.js";\na + b;\n')
    monkeypatch.setattr(base, "JS", tmp_path)
    lines = widgets.bundle("c.js").split("\n")
    assert [line for line in lines if line] == ["export const a = 1;", "export const b = a;", "a + b;"]


# As prettier lays out a file's declarations.
DECLARED = re.compile(r"^(export )?(?:const|let|class|(?:async )?function\*?) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r'^import \{([^}]*)\} from "\./(.*)";$', re.MULTILINE)


@pytest.mark.parametrize("figure", [*FIGURES, *LOADING, Playground])
def test_the_files_of_a_bundle_declare_different_names(figure):
    names = [name for _, name in DECLARED.findall(str(figure._esm))]
    assert len(names) > 50
    assert sorted(names) == sorted(set(names))


def test_what_is_imported_is_exported():
    texts = {path.name: path.read_text(encoding="utf-8") for path in base.JS.glob("*.js")}
    exported = {file: {name for export, name in DECLARED.findall(text) if export} for file, text in texts.items()}
    wanted = [
        (file, set(re.findall(r"\w+", names))) for text in texts.values() for names, file in IMPORTED.findall(text)
    ]
    assert len(wanted) > 20
    for file, names in wanted:
        assert names <= exported[file], file


@pytest.mark.parametrize("figure", FIGURES)
def test_the_mime_bundle_has_both_mounts(figure):
    slider = figure(link="a")
    data, _ = slider._repr_mimebundle_()
    assert data[WIDGET_VIEW]["model_id"] == slider.model_id
    state = re.search(r'data-state="([^"]*)"', data["text/html"])[1]
    assert json.loads(unescape(state)) == slider.state()


@pytest.mark.parametrize("figure", FIGURES)
def test_the_page_needs_no_network(figure):
    html = figure().static_html()
    assert set(re.findall(r"https?://[^\"'\s)]+", html)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    # A picture that is in the page already has an address that names its own bytes.
    assert not re.search(r"\b(src|href)\s*=(?!\s*`data:)|@import|url\([^#]", html)


def test_two_figures_share_one_program():
    first, second = BlurringSlider().static_html(), BlurringSlider().static_html()
    assert len(programs(first)) == 1
    assert programs(second) == []
    assert f'data-source="{programs(first)[0]}"' in second
    widgets.new_page()
    assert programs(BlurringSlider().static_html()) == programs(first)


def test_each_kind_of_figure_carries_its_own_program():
    carried = [programs(figure().static_html()) for figure in FIGURES * 2]
    assert len({name for names in carried for name in names}) == len(FIGURES)
    assert not any(carried[len(FIGURES) :])


class Kernel:
    """Stands for IPython's shell: says which cell is running, and in which run."""

    def __init__(self):
        self.cell, self.run = None, None

    def get_parent(self):
        return {"metadata": {"cellId": self.cell}, "header": {"msg_id": self.run}}


def test_the_cell_that_carried_the_program_carries_it_again_when_it_is_run_again(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(base, "get_ipython", lambda: kernel)
    carried = []
    for kernel.cell, kernel.run in [("a", "1"), ("a", "1"), ("b", "2"), ("b", "3"), ("a", "4"), ("b", "5")]:
        carried.append(bool(programs(BlurringSlider().static_html())))
    assert carried == [True, False, False, False, True, False]


def test_without_cell_names_the_first_figure_carries_the_program(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(base, "get_ipython", lambda: kernel)
    carried = []
    for kernel.run in "123":
        carried.append(bool(programs(BlurringSlider().static_html())))
    assert carried == [True, False, False]


# --- what is still taken, and what just is not --------------------------------------------------------------------

# (figure, trait): the ends that belong to its range, then the nearest values that do not.
ENDS = {
    (BlurringSlider, "sigma_max"): ([0.0, 1e6], [-1e-9]),
    (BlurringSlider, "t"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (BlurringSlider, "d_min"): ([1e-9, 1 - 1e-9], [0.0, 1.0]),
    (BlurringSlider, "schedule"): (["sin2", "sin"], ["cos"]),
    (BlurDiffusionSlider, "f_max"): ([0.0, 1e6], [-1e-9]),
    (BlurDiffusionSlider, "kernel_sigma"): ([1e-9, 8.0], [0.0, 8 + 1e-9]),
    (BlurDiffusionSlider, "steps"): ([100, 250, 500, 1000], [99, 200, 1001]),
    (BlurDiffusionSlider, "boundary"): (["zero", "symmetric"], ["reflect"]),
    (LaboratorySlider, "steps"): ([5, 1000], [4, 1001]),
    (LaboratorySlider, "order"): ([1, 2], [0, 3]),
    (CarrySlider, "rho"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (CarrySlider, "t"): ([1e-9, 1.0], [0.0, 1 + 1e-9]),
    (CarrySlider, "steps"): ([10, 1000], [9, 1001]),
    (CarrySlider, "mode"): ([1, 63], [0, 64]),
    (ClocksSlider, "system"): (["ddpm", "by_hand"], ["lee"]),
    (ClocksSlider, "low"): ([-3.0, 3.0], [-3 - 1e-9, 3 + 1e-9]),
    (ClocksSlider, "middle"): ([-3.0, 3.0], [-3 - 1e-9, 3 + 1e-9]),
    (ClocksSlider, "high"): ([-3.0, 3.0], [-3 - 1e-9, 3 + 1e-9]),
    (ClocksSlider, "t"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (ClocksSlider, "steps"): ([2, 200], [1, 201]),
    (RestorationSlider, "epsilon"): ([1e-9, 1.0], [0.0, 1 + 1e-9]),
    (RestorationSlider, "bias"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (RestorationSlider, "steps"): ([1, 200], [0, 201]),
    (SeveritySlider, "t"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (SeveritySlider, "sigma_max"): ([0.0, 1e6], [-1e-9]),
    (SpectrumSlider, "system"): (["ddpm", "equal_snr"], ["by_hand"]),
    (SpectrumSlider, "width"): ([0.5, 1e6], [0.5 - 1e-9]),
    (SpectrumSlider, "t"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (SpectrumSlider, "steps"): ([2, 200], [1, 201]),
    (SystemsFilm, "t"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
    (SystemsFilm, "way"): (["forward", "backward"], ["up"]),
    (LiveSampler, "seed"): ([0, 99], [-1, 100]),
    (ThereAndBack, "seed"): ([0, 99], [-1, 100]),
    (ThereAndBack, "place"): ([0.0, 2.0], [-1e-9, 2 + 1e-9]),
    (LiveSampler, "t"): ([0.0, 1.0], [-1e-9, 1 + 1e-9]),
}


@pytest.mark.parametrize(("figure", "name"), ENDS, ids=lambda x: getattr(x, "__name__", x))
def test_ranges_end_where_they_say(figure, name):
    taken, refused = ENDS[figure, name]
    slider = figure()
    for value in taken:
        setattr(slider, name, value)
        assert slider.state()[name] == value
        assert figure(**{name: value}).state()[name] == value
    for value in refused:
        with pytest.raises(traitlets.TraitError, match=f"{name} is"):
            setattr(slider, name, value)


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [("steps", [5, 250], [4, 251]), ("order", [1, 2], [0, 3]), ("rho", [0.0, 1.0], [-1e-9, 1 + 1e-9])],
)
def test_ranges_of_a_walk_end_where_they_say(name, taken, refused):
    slider = LiveSampler()
    for side in ("left", "right"):
        for value in taken:
            setattr(slider, side, {name: value})
            assert getattr(slider, side)[name] == value
        for value in refused:
            with pytest.raises(traitlets.TraitError, match=f"{name} is"):
                setattr(slider, side, {name: value})


def test_the_live_sampler_begins_with_two_networks():
    slider = LiveSampler(left={"recipe": "fashion-soft"})
    assert (slider.left["recipe"], slider.right["recipe"]) == ("fashion-soft", "fashion-ddpm")
    assert LiveSampler().left["recipe"] == "fashion-blurring"
    assert LiveSampler(right={}).right == LiveSampler().left


@pytest.mark.parametrize(
    ("figure", "taken", "refused"),
    [
        (BlurringSlider, [8, 256], [7, 257]),
        (LaboratorySlider, [4, 64], [3, 65]),
        (CarrySlider, [8, 64], [7, 65]),
        (ClocksSlider, [8, 64], [7, 65]),
        (SeveritySlider, [8, 16, 32, 64], [4, 24, 128]),
    ],
)
def test_sizes_end_where_they_say(figure, taken, refused):
    for size in taken:
        assert figure(size=size).state()["size"] == size
    for size in refused:
        with pytest.raises(traitlets.TraitError, match=f"size is {size}"):
            figure(size=size)


def test_a_small_picture_has_small_modes_only():
    assert (CarrySlider(size=8).mode, CarrySlider(size=16).mode) == (7, 12)
    assert CarrySlider(size=8, mode=3).mode == 3
    with pytest.raises(traitlets.TraitError, match="mode is 8; expected k from 1 to 7"):
        CarrySlider(size=8, mode=8)


@pytest.mark.parametrize("figure", [*FIGURES, *LOADING, Playground])
def test_the_state_goes_through_html_whatever_the_group_is_called(figure):
    slider = figure(link='a "b" <c> & d\'s')
    assert slider.state()["link"] == 'a "b" <c> & d\'s'
    html = slider.static_html()
    assert json.loads(unescape(re.search(r'data-state="([^"]*)"', html)[1])) == slider.state()
    wide, narrow = figure._heights
    assert f'style="--wide: {wide}px; --narrow: {narrow}px"' in html
    assert wide < narrow, "on a narrow page the parts stand below each other"


def test_a_figure_of_another_style_carries_its_own_program():
    class Dark(BlurringSlider):
        _css = BlurringSlider._css + ":root { color: white }"

    light, dark = BlurringSlider().static_html(), Dark().static_html()
    assert len({*programs(light), *programs(dark)}) == 2
    assert "color: white" in dark


@pytest.mark.parametrize("shape", [(21, 8), (8, 21), (20, 8)])
def test_the_middle_of_a_picture_is_shown(shape):
    """Pixel by pixel, where nothing is resized; of two middles the one nearer to the corner."""
    whole = RNG.integers(0, 256, (3, *shape), dtype=np.uint8)
    top, left = ((side - 8) // 2 for side in shape)
    middle = whole[:, top : top + 8, left : left + 8].transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels(BlurringSlider(whole / 127.5 - 1, size=8)), middle)


def test_pixels_are_rounded_to_the_nearest_level():
    levels = RNG.uniform(0, 255, (3, 8, 8))
    shown = pixels(BlurringSlider(levels / 127.5 - 1, size=8)).transpose(2, 0, 1)
    assert np.abs(shown - levels).max() <= 0.5 + 1e-9
