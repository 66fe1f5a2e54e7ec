"""bdbook check on functions as users write them: right ones pass, slips are named, mistakes end with a clear line."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import dct, idct, lam

from bdbook import conformance
from bdbook.cli import main
from bdbook.conformance import check, kinds, slips

HERE = Path(__file__).parent / "implementations"
LEE = ("--as", "lee-marginal", "--size", "8")
TORCH = ("--size", "16", "--sigma-max", "10")
RIGHT = [
    *(("right_listing.py", name, ()) for name in ("get_frequency_scaling", "get_noise_scaling_cosine")),
    *(("right_listing.py", name, ()) for name in ("get_alpha_sigma", "DCT", "IDCT", "diffuse", "denoise")),
    *(("right_torch.py", name, ("--size", "16")) for name in ("dct", "idct")),
    *(("right_torch.py", name, TORCH) for name in ("get_alpha_sigma", "diffuse", "denoise")),
    ("right_lee_and_ihdm.py", "marginal", LEE),
    ("right_lee_and_ihdm.py", "diffuse", ("--as", "lee-diffuse", "--size", "8")),
    ("right_lee_and_ihdm.py", "blur", ("--as", "ihdm-blur", "--size", "8", "12")),
]
PLANTED = [
    ("blur_from_noise.py", "get_alpha_sigma", (), ["blur-from-sigma_t"]),
    ("fourier_for_cosine.py", "DCT", (), ["fft-real"]),
    ("no_scale.py", "dct", (), ["not-normalised"]),
    ("no_scale.py", "idct", (), ["not-normalised"]),
    ("variance_for_deviation.py", "denoise", (*TORCH, "--steps", "100"), ["variance-for-deviation-of-step"]),
    ("frequencies_to_pi.py", "get_frequency_scaling", (), ["frequencies-to-pi"]),
    ("no_floor.py", "get_frequency_scaling", (), ["no-floor"]),
    ("clipped_angle.py", "get_noise_scaling_cosine", (), ["clipped-angle"]),
    ("variance_squared.py", "marginal", LEE, ["variance-squared"]),
    ("one_step_of_blur.py", "noised", ("--as", "lee-diffuse", "--size", "8"), ["one-step-of-blur"]),
    ("no_zero_in_front.py", "blurred", ("--as", "ihdm-blur"), ["no-zero-in-front"]),
    ("noise_before_idct.py", "diffuse", (), ["noise-transformed-back"]),
    ("two_slips.py", "get_alpha_sigma", (), ["no-floor", "unbounded-angle"]),
]


def run(capsys, *arguments):
    """(status, stdout, stderr)."""
    status = main(["check", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.fixture(autouse=True)
def _modules_as_they_were():
    """The files import each other by name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(HERE)):
            del sys.modules[name]


@pytest.mark.parametrize(("file", "name", "options"), RIGHT, ids=[f"{file}:{name}" for file, name, _ in RIGHT])
def test_right_ones_pass(file, name, options, capsys):
    status, told, _ = run(capsys, f"{HERE / file}:{name}", *options)
    assert (status, told.splitlines()[0]) == (0, f"{name}: conforms")


@pytest.mark.parametrize(("file", "name", "options", "expected"), PLANTED, ids=[f"{p[0]}:{p[1]}" for p in PLANTED])
def test_planted_slips_are_named_and_no_other(file, name, options, expected, capsys):
    status, told, _ = run(capsys, f"{HERE / file}:{name}", *options, "--json")
    report = json.loads(told)
    assert status == 1
    assert not report["conforms"]
    assert [[each["name"] for each in several] for several in report["slips"]] == [expected]
    place, _, line = report["where"].rpartition(":")
    assert f"def {name}(" in Path(place).read_text().splitlines()[int(line) - 1]


def test_a_misprint_is_told_in_words_with_what_should_stand_there(capsys):
    status, told, said = run(capsys, f"{HERE / 'blur_from_noise.py'}:get_alpha_sigma")
    assert status == 1
    assert "your code takes the width of the blur from sigma_t, the noise: HS app. A.1's misprint" in told
    assert "dissipation_time = sigma_blur^2 / 2" in told
    assert "blur_from_noise.py:6" in told
    assert "bdbook check runs" in said  # before it does, and not among what it found


def test_the_misprints_are_in_the_list_of_errata():
    errata = (Path(__file__).resolve().parents[1] / "book" / "errata.yml").read_text(encoding="utf-8")
    named = {each.misprint for kind in kinds.KINDS.values() for each in kind.known if each.misprint}
    assert len(named) >= 5
    assert [name for name in named if f"- id: {name}\n" not in errata] == []


# --- properties ----------------------------------------------------------------------------------------------


def blurring(size, sigma_max, d_min, blur="sin2"):
    """HS's alpha and sigma with numpy alone, from the closed form."""

    def get_alpha_sigma(t):
        t = np.reshape(t, (-1, 1, 1))
        angle = math.atan(math.exp(-5)) * (1 - t) + math.atan(math.exp(5)) * t
        width = sigma_max * np.sin(np.pi * t / 2) ** (2 if blur == "sin2" else 1)
        return np.cos(angle) * ((1 - d_min) * np.exp(-lam(size) * width**2 / 2) + d_min), np.sin(angle)

    return get_alpha_sigma


SIZES = st.tuples(st.integers(1, 20), st.integers(4, 20))
WIDTHS = st.floats(0, 60)
FLOORS = st.floats(1e-6, 0.5)


@settings(max_examples=25, deadline=None)
@given(SIZES, WIDTHS, FLOORS, st.sampled_from(["sin2", "sin"]))
def test_right_ones_pass_at_any_settings(size, sigma_max, d_min, blur):
    chosen = {"size": size, "sigma_max": sigma_max, "d_min": d_min, "blur": blur}
    assert check(blurring(**chosen), **chosen).conforms

    def diffuse(x, t):
        alpha, sigma = (c[:, None] for c in blurring(**chosen)(t))
        eps = np.random.default_rng().standard_normal(x.shape)
        return idct(alpha * dct(x)) + sigma * eps, eps

    report = check(diffuse, **chosen)
    assert report.conforms, report


@settings(max_examples=25, deadline=None)
@given(st.floats(5, 30), st.floats(5, 30), st.floats(1e-3, 0.1))
def test_other_settings_than_those_asked_for_deviate(width, other, d_min):
    assume(abs(width - other) > 0.1)
    assert not check(blurring((16, 16), width, d_min), size=16, sigma_max=other, d_min=d_min).conforms


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 9), st.floats(0, 1), st.integers(2, 400), st.sampled_from(["quartic", "linear", "log"]))
def test_lee_by_steps_passes(size, f_max, steps, f_type):
    i = np.arange(1, steps + 1)
    f = f_max * (np.log(i) / np.log(steps) if f_type == "log" else (i / steps) ** {"linear": 1, "quartic": 4}[f_type])
    taps = np.exp(-0.5 * (np.arange(-1, 2) / 0.4) ** 2)
    taps /= taps.sum()
    eigenvalues = np.linalg.eigvalsh(sum(tap * np.eye(size, k=k) for k, tap in zip((-1, 0, 1), taps)))
    left = np.cumprod(
        (1 - np.linspace(1e-4, 0.02, steps))[:, None] * np.outer(eigenvalues, eigenvalues).ravel() ** (2 * f[:, None]),
        0,
    )
    report = check(
        lambda i: (np.sqrt(left[i - 1]), 1 - left[i - 1]),
        "lee-marginal",
        size=size,
        f_max=f_max,
        steps=steps,
        f_type=f_type,
    )
    assert report.conforms, report


FREE = {"size": (9, 12)}
# A blur that does not change with t goes out of alpha_t / alpha_s, as none does.
EQUAL_STEPS = {"blur-constant", "no-blur"}


# Settings at which these lines are not those that should stand there.
STANDING = {"blur-as-sin2": {"blur": "sin"}, "kernel-zeros": {"boundary": "symmetric"}}


def by_lines(label, form, chosen):
    """A function of this kind, from the paper's lines with these written otherwise."""
    kind = kinds.KINDS[label]
    free = {**kind.free, **chosen}
    clipped = {"delta": slips.DELTA} if label == "denoise" else {}
    lines = replace(kind.listing(kind.process(free), free), **clipped, **form)
    if not kind.images:
        return lambda t: (
            kind.by_lines(lines, np.reshape(t, (-1, 1, 1)))
            if len(kind.parts) > 1
            else kind.by_lines(lines, np.reshape(t, (-1, 1, 1)))[0]
        )
    random = np.random.default_rng(0)
    there, back = lines.transform

    def diffuse(x, t):
        alpha, sigma = (c[:, None] for c in lines.alpha_sigma(np.reshape(t, (-1, 1, 1))))
        eps = random.standard_normal(x.shape)
        return lines.filtered(alpha, x) + lines.noised(lines, sigma, eps), eps

    def denoise(z_t, t, hat_eps):
        of_z, of_eps, fresh = (c[:, None] for c in lines.denoise(np.reshape(t, (-1, 1, 1))))
        mean = of_z * there(z_t) - of_eps * lines.heard(lines, hat_eps)
        return back(mean + fresh * random.standard_normal(z_t.shape))

    return {
        "dct": there,
        "idct": back,
        "denoise": denoise,
        "ihdm-blur": lambda x, t: diffuse(x, t)[0],
    }.get(label, diffuse)


EVERY = [(label, each, n) for label, kind in kinds.KINDS.items() for each in kind.known for n in range(len(each.forms))]


@pytest.mark.parametrize("label", kinds.KINDS)
def test_the_listings_as_they_stand_conform(label):
    chosen = {} if label == "noise-scaling" else FREE
    report = check(by_lines(label, {}, chosen), label, **chosen)
    assert report.conforms, report


@pytest.mark.parametrize(("label", "slip", "n"), EVERY, ids=[f"{label}-{each.name}-{n}" for label, each, n in EVERY])
def test_every_known_slip_is_named_and_none_is_taken_for_it(label, slip, n):
    chosen = {} if label == "noise-scaling" else FREE | STANDING.get(slip.name, {})
    if label == "denoise" and slip.name == "no-floor":  # alpha_s / alpha_t is 0 / 0 where the blur is strong
        with pytest.raises(ValueError, match=r"at [\d.]+, it returned NaN.*; check get_alpha_sigma first"):
            check(by_lines(label, slip.forms[n], chosen), label, **chosen)
        return
    report = check(by_lines(label, slip.forms[n], chosen), label, **chosen)
    if report.conforms:
        assert slip.name in report.hidden
        return
    named = {each.name for several in report.slips for each in several}
    assert named == (EQUAL_STEPS if label == "denoise" and slip.name in EQUAL_STEPS else {slip.name}), report


def test_slips_that_make_no_difference_are_not_claimed():
    report = check(blurring((8, 8), 0.0, 1e-3), size=8, sigma_max=0.0)
    assert report.conforms
    assert {"no-half", "frequencies-to-pi", "no-floor", "blur-linear"} <= set(report.hidden)
    assert "blur-from-sigma_t" not in report.hidden
    # Seven roundings off: neither right, nor a slip that lies as far from it.
    noise_floor = blurring((8, 8), 20.0, 1e-3)
    report = check(lambda t: [c + 7 * kinds.ROUNDING for c in noise_floor(t)], "alpha-sigma", size=8)
    assert not report.conforms
    assert report.slips == ()
    assert "none that is known explains these numbers" in str(report)


def test_slips_that_cannot_be_told_apart_are_all_told():
    def get_frequency_scaling(t):  # of one row: the sum of the frequencies is their length
        frequency = np.pi * np.arange(16) / 16
        return 0.999 * np.exp(-frequency * (20 * np.sin(t * np.pi / 2) ** 2) ** 2 / 2) + 0.001

    report = check(get_frequency_scaling, size=(1, 16))
    assert [[each.name for each in several] for several in report.slips] == [
        ["frequencies-not-squared"],
        ["root-of-squares"],
    ]
    assert "or, which comes to the same here" in str(report)


def test_the_largest_deviation_says_where():
    def get_alpha_sigma(t):
        alpha, sigma = blurring((8, 8), 20.0, 1e-3)(t)
        alpha = np.array(alpha)
        alpha[..., 2, 5] += 0.25 * (np.reshape(t, -1) == 0.4)
        return alpha, sigma

    deviation = check(get_alpha_sigma, size=8).deviation
    assert (deviation.quantity, deviation.time, deviation.frequency) == ("alpha", 0.4, (2, 5))
    assert str(deviation).startswith("alpha at t = 0.4, frequency (2, 5): expected ")
    assert deviation.given - deviation.expected == pytest.approx(0.25)
    assert deviation.roundings == pytest.approx(0.25 / kinds.ROUNDING, rel=0.01)


def test_several_times_at_once():
    one, many = blurring((8, 8), 20.0, 1e-3), "takes several times in one call, (B,) in numpy and (B, 1, 1, 1) in numpy"
    assert check(one, size=8).notes == (many,)

    def first_only(x, t):
        assert t.shape == x.shape[:1]
        alpha, sigma = (torch.from_numpy(c[:1])[:, None] for c in one(t.numpy()))
        return torch.from_numpy(idct(alpha.numpy() * dct(x.numpy()))) + sigma * torch.randn(x.shape)

    report = check(first_only, "diffuse", size=8)  # it takes a time for each image, and looks at the first alone
    assert not report.conforms
    assert "several times in one call" in report.deviation.quantity
    assert "none that is known" not in str(report)
    alone = check(lambda t: one(float(t)), "alpha-sigma", size=8)
    assert alone.conforms
    assert alone.notes == ("takes one time in a call",)


@pytest.mark.parametrize("noise", ["none", "scalar", "wrong spread"])
def test_noise_that_is_not_returned_is_measured(noise):
    def diffuse(x, t):
        alpha, sigma = blurring((16, 16), 20.0, 1e-3)(t)
        factor = {"none": 0, "scalar": sigma, "wrong spread": 1.2 * sigma}[noise]
        return idct(alpha * dct(x)) + factor * np.random.default_rng().standard_normal(x.shape)

    report = check(diffuse, size=16)
    assert report.conforms is (noise == "scalar")
    assert [each.name for several in report.slips for each in several] == (["no-noise"] if noise == "none" else [])
    assert "noise-transformed-back" in report.hidden  # its law is the same


def test_denoise_gives_the_global_network_back(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import right_listing

    before = right_listing.neural_net
    assert check(right_listing.denoise).settings["steps"] == 200  # the module's T
    assert right_listing.neural_net is before
    with pytest.raises(ValueError, match="steps was 50, but T is 200"):
        check(right_listing.denoise, steps=50)


# --- mistakes ------------------------------------------------------------------------------------------------


def returning(value):
    return lambda t: value


HUGE = np.full((8, 8), np.nan)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (returning(None), {}, "it returned NoneType; expected (alpha, sigma)"),
        (returning((1.0, 2.0, 3.0)), {}, "it returned tuple of 3; expected (alpha, sigma)"),
        (returning(("a", 1.0)), {}, "it returned str; expected an array, a tensor or a number"),
        (returning((HUGE, 1.0)), {}, "it returned NaN or infinity, in 64 of 64 numbers"),
        (returning((1.0, math.inf)), {}, "it returned NaN or infinity"),
        (
            returning((np.ones(3), 1.0)),
            {},
            "alpha had shape (3,); expected a number, or one for each of 8x8 frequencies",
        ),
        (returning((np.ones((8, 8)) + 1j, 1.0)), {}, "complex numbers; expected real ones"),
        (lambda t: 1 / 0, {}, "it raised ZeroDivisionError: division by zero"),
        (lambda t: sys.exit(3), {}, "it raised SystemExit: 3"),
        (lambda t, net: (1.0, 1.0), {}, "it needs net too, of which the check knows nothing"),
        (blurring((8, 8), 20.0, 1e-3), {"size": 9}, "Is size right?"),
        (blurring((8, 8), 20.0, 1e-3), {"d_min": 2.0}, "d_min was 2.0; expected"),
        (blurring((8, 8), 20.0, 1e-3), {"blur": "sin3"}, "unknown blur schedule 'sin3': did you mean"),
        (
            blurring((8, 8), 20.0, 1e-3),
            {"f_max": 0.1},
            "alpha-sigma has no f_max: size, sigma_max, d_min, blur may be set",
        ),
        (blurring((8, 8), 20.0, 1e-3), {"sigma": 0.1}, "unknown setting 'sigma': did you mean"),
        (3, {}, "the function was int; expected one to call"),
    ],
)
def test_what_cannot_be_checked_is_told_in_a_line(function, options, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        check(function, "alpha-sigma", **{"size": 8, **options})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (lambda x: x[..., 1:], "dct", "it returned shape"),
        (lambda x: np.fft.fft2(x), "dct", "a Fourier transform is no DCT"),
        (lambda x, t: x, "denoise", "let it take neural_net, a function of (z_t, t), or hat_eps"),
        (lambda x, i: x, "lee-difuse", "unknown kind 'lee-difuse': did you mean 'lee-diffuse'"),
        (
            lambda x: x,
            None,
            "<lambda> has no name of a paper's listing; say as what it is checked: frequency-scaling (t)",
        ),
    ],
)
def test_mistakes_about_images_and_kinds(function, kind, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        check(function, kind)
    assert message in str(raised.value)


SOURCES = {
    "broken.py": "def f(:\n",
    "raises.py": "raise KeyError('no data here')\n",
    "leaves.py": "import sys\nsys.exit('usage: leaves.py DATA')\n",
    "needs.py": "import a_module_that_nobody_has\n",
    "fine.py": "number = 3\n\n\ndef get_alpha_sigma(t):\n    print('called')\n    return t, t\n",
}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("get_alpha_sigma", "the function was 'get_alpha_sigma'; expected MODULE:FUNCTION, such as"),
        ("fine.py:", "the function was 'fine.py:'; expected MODULE:FUNCTION"),
        ("nowhere.py:f", "nowhere.py is no file"),
        ("a_module_that_nobody_has:f", "could not be imported: ModuleNotFoundError"),
        ("broken.py:f", "broken.py could not be imported: SyntaxError: "),
        ("raises.py:f", "raises.py could not be imported: KeyError: 'no data here'"),
        ("leaves.py:f", "leaves.py could not be imported: SystemExit: usage"),
        ("needs.py:f", "needs.py could not be imported: ModuleNotFoundError: No module named 'a_module_that"),
        ("fine.py:get_alpha_sigm", "unknown function of fine.py 'get_alpha_sigm': did you mean 'get_alpha_sigma'"),
        ("fine.py:number", "fine.py:number is int; expected a function"),
        ("fine:get_alpha_sigma --size 0", "image size was"),
        ("fine:get_alpha_sigma --size 1 2 3", "size was 1 2 3; expected a side, or height and width"),
        ("fine:get_alpha_sigma --as alpha_sigma", "unknown kind 'alpha_sigma': did you mean 'alpha-sigma'"),
    ],
)
def test_mistakes_of_the_command_end_with_one_clear_line(target, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.delitem(sys.modules, "fine", raising=False)
    before = list(sys.path)
    status, told, said = run(capsys, *target.split())
    assert (status, told) == (2, "")
    assert message in said.splitlines()[-1]
    assert "Traceback" not in said
    assert sys.path == before


def test_in_a_process_of_its_own(tmp_path):
    (tmp_path / "fine.py").write_text(SOURCES["fine.py"])
    command = [sys.executable, "-m", "bdbook", "check", "fine:get_alpha_sigma", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["kind"] == "alpha-sigma"  # what the function prints goes elsewhere
    assert done.stderr.splitlines()[0] == "bdbook check runs fine, and get_alpha_sigma in it"
    assert "called" in done.stderr


def test_the_report_of_the_library_is_its_text():
    report = check(blurring((8, 8), 20.0, 1e-3), size=8)
    assert isinstance(report, conformance.Report)
    assert repr(report) == str(report)
    assert str(report).splitlines()[0].endswith("get_alpha_sigma: conforms")
    assert slips.DELTA == 1e-8
