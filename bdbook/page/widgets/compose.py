"""The figure where data, process, rule and number of calls are put together, with the exact error of what comes out."""

import base64
import functools
from collections.abc import Callable
from dataclasses import dataclass

import traitlets

from bdbook import data, processes, samplers
from bdbook.oracle import Gaussian, ddim_floor
from bdbook.page.widgets.base import Slider, bundle, choice, number, whole
from bdbook.page.widgets.photo import encode_photo
from bdbook.transforms import DCT

SIDE = 32  # of the images, px
COUNT = 256  # of the images that a spectrum is measured on
DATA = ("photos", "leaves")
SYSTEMS = ("ddpm", "cosine", "heat", "blurring", "blur", "soft", "equal_snr")
RULES = ("ancestral", "ddim", "flow", "momentum", "naive", "tacos", "ihdm")  # of bdbook.samplers, and its `flow`
SETTING = ("data", "system", "sigma_max", "kappa", "rule", "order", "steps")  # all that the error depends on


class Playground(Slider):
    """Data, a system, a rule, a number of calls: there and back with the exact denoiser, and the error per frequency.

    Parameters
    ----------
    data : "photos" or "leaves"; the figure knows the mean and the variance of their coefficients.
    system : "ddpm", "cosine", "heat", "blurring", "blur" (Lee's, mirrored at the borders), "soft" or "equal_snr".
    sigma_max : sigma_B,max of "heat", "blurring" and "soft", the blur at t = 1, px, 0.5 to 30.
    kappa : of "equal_snr", -3 to 3: how far the clocks of high frequencies run ahead.
    rule : a name from `bdbook.samplers.RULES`, or "flow".
    order : 1, or 2 for a guess extrapolated from the last two.
    steps : N, 2 to 200, of a uniform grid from t = 1 to 0: the denoiser is called so often.
    t : time in [0, 1].
    link : name of a group of figures that share t and the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("compose.js")
    _heights = (1618, 2495)

    data, _check_data = choice("data", "photos", DATA)
    system, _check_system = choice("system", "blurring", SYSTEMS)
    sigma_max, _check_sigma_max = number("sigma_max", 5.0, 0.5, 30, "a blur of 0.5 to 30 px")
    kappa, _check_kappa = number("kappa", 0.0, -3, 3, "a number from -3 to 3")
    rule, _check_rule = choice("rule", "ddim", RULES)
    order, _check_order = whole("order", 1, 1, 2, "order 1 or 2")
    steps, _check_steps = whole("steps", 10, 2, 200, "2 to 200 steps")
    t, _check_t = number("t", 0.4, 0, 1, "a time in [0, 1]")
    size = traitlets.Int(SIDE, read_only=True).tag(sync=True)
    _photo = traitlets.Unicode().tag(sync=True)  # base64 of the reader's picture; none: an example of the data
    _spectra = traitlets.Dict().tag(sync=True)  # data -> mean, variance of its coefficients, and an example, as base64
    _walks: traitlets.List = traitlets.List().tag(sync=True)  # title and stages, each { set, say }

    def __init__(self, **settings):
        super().__init__(_spectra={name: _told(name) for name in DATA}, _walks=_walks(), **settings)


@functools.cache
def spectrum(name: str) -> Gaussian:
    """Mean and variance of the cosine coefficients of a data set of the figure."""
    return Gaussian.fit(DCT(SIDE), data.load(name, SIDE, channels=1, count=COUNT))


@functools.cache
def _told(name: str) -> dict[str, str]:
    """A data set as the page has it: float64 and pixels, as base64."""
    law = spectrum(name)
    text = {"mean": law.mean, "variance": law.variance}
    doubles = {key: base64.b64encode(plane.numpy().astype("<f8").tobytes()).decode() for key, plane in text.items()}
    example = data.load(name, SIDE, channels=1, count=1)[0].clamp(-1, 1)
    return doubles | {"example": encode_photo(example, SIDE)}


def process(name: str, law: Gaussian, sigma_max: float, kappa: float) -> processes.Process:
    """A system of the figure, for data of this spectrum."""
    if name == "equal_snr":
        return processes.equal_snr(law, kappa=kappa)
    if name in ("ddpm", "cosine"):
        return processes.ddpm(basis=law.basis) if name == "ddpm" else processes.cosine_diffusion(law.basis)
    if name == "blur":
        return processes.blur_diffusion(SIDE, boundary="symmetric")
    factory = {"heat": "heat_dissipation", "blurring": "blurring_diffusion", "soft": "soft_diffusion"}[name]
    return processes.process(factory, SIDE, sigma_max=sigma_max)


@functools.cache
def error(**setting) -> float:
    """KL in nats, over all frequencies, of what a setting of the figure draws; settings not given are its defaults."""
    setting = {name: Playground.class_traits()[name].default() for name in SETTING} | setting
    law = spectrum(setting["data"])
    of = process(setting["system"], law, setting["sigma_max"], setting["kappa"])
    law = Gaussian(of.basis, law.variance, law.mean)  # of mirrored blur the basis is the cosines, by another name
    rule = samplers.flow(law) if setting["rule"] == "flow" else setting["rule"]
    return law.sampler_error(of, of.times(setting["steps"]), rule, order=setting["order"]).kl.sum().item()


@dataclass(frozen=True)
class Stage:
    """One step of a walk: what is set, what is to be seen there, and whether the errors of the walk so far say so.

    say: with {kl} for the error in nats, and {floor} for that of DDIM's floor. holds: of the errors up to this stage.
    """

    setting: dict
    say: str
    holds: Callable[[list[float]], bool]


def _few(steps: int, **setting) -> dict:
    return {"rule": "ddim", "steps": steps} | setting


WALKS = {
    "Why blur needs noise": (
        Stage(
            {"system": "cosine", "rule": "ancestral", "steps": 100},
            "Noise and no blur. A hundred steps by the exact posterior leave {kl} nats.",
            lambda kl: kl[-1] > 0,
        ),
        Stage(
            {"system": "heat", "sigma_max": 20.0, "rule": "ihdm"},
            "Blur, and a whiff of noise that is drawn afresh: IHDM. As many steps leave {kl} nats, which is more.",
            lambda kl: kl[-1] > kl[-2],
        ),
        Stage(
            {"rule": "naive"},
            "Now without the whiff. Nothing new is drawn, and what the blur took never comes back: look at the high "
            "frequencies in the plot of the variance, and at the pictures.",
            lambda kl: kl[-1] > 1e4,
        ),
        Stage(
            {"rule": "ddim"},
            "The little noise of the start, carried over from step to step: {kl} nats, less than with the whiff.",
            lambda kl: kl[-1] < kl[-3],
        ),
        Stage(
            {"system": "blurring"},
            "The same blur, with noise that grows along with it: {kl} nats. Noise fills what the blur empties.",
            lambda kl: kl[-1] < kl[-2],
        ),
        Stage(
            {"sigma_max": 5.0},
            "Less blur, and the clocks come closer together: {kl} nats.",
            lambda kl: kl[-1] < kl[-2],
        ),
    ),
    "One clock per frequency": (
        Stage(
            _few(10, system="cosine"),
            "Noise alone, in ten calls of DDIM. High frequencies drown first, since photographs have so little there: "
            "their clock runs ahead. {kl} nats.",
            lambda kl: kl[-1] > 0,
        ),
        Stage(
            {"system": "blurring", "sigma_max": 5.0},
            "Blur of 5 px makes the high clocks run further ahead: {kl} nats.",
            lambda kl: kl[-1] > kl[-2],
        ),
        Stage({"sigma_max": 20.0}, "Blur of 20 px, still further: {kl} nats.", lambda kl: kl[-1] > kl[-2]),
        Stage(
            {"system": "equal_snr", "kappa": 0.0},
            "Noise of the data's own colour: all clocks together. {kl} nats, within a twentieth of the floor of a full "
            "quarter turn, {floor}.",
            lambda kl: kl[-1] < kl[0] and abs(kl[-1] / ddim_floor(SIDE**2, 10) - 1) < 0.05,
        ),
        Stage(
            {"kappa": 1.0}, "Bend them so that high frequencies run ahead: {kl} nats, more.", lambda kl: kl[-1] > kl[-2]
        ),
        Stage(
            {"kappa": -1.0},
            "Bend them the other way: {kl} nats, the same to three digits. Which end goes first does not matter.",
            lambda kl: abs(kl[-1] / kl[-2] - 1) < 5e-4,
        ),
    ),
    "Five calls": (
        Stage(
            _few(5, system="blurring", sigma_max=20.0),
            "Blur of 20 px, five calls of DDIM: {kl} nats. Most clocks make their whole turn in a step or two.",
            lambda kl: kl[-1] > 0,
        ),
        Stage(
            {"rule": "ancestral"}, "The exact posterior's step needs more calls: {kl} nats.", lambda kl: kl[-1] > kl[-2]
        ),
        Stage(
            {"rule": "ddim", "system": "cosine"},
            "DDIM without blur: {kl} nats.",
            lambda kl: kl[-1] < kl[-3],
        ),
        Stage(
            {"order": 2},
            "A guess that is drawn on from the last two, at no further call: {kl} nats.",
            lambda kl: kl[-1] < kl[-2],
        ),
        Stage(
            {"system": "equal_snr", "kappa": 0.0, "order": 1},
            "Or clocks that run together, at order 1: {kl} nats.",
            lambda kl: kl[-1] < kl[-2],
        ),
        Stage(
            {"system": "blurring", "rule": "flow"},
            "Blur of 20 px again, by the flow rule: nothing is missing. For Gaussian data its step is exact, whatever "
            "the clocks.",
            lambda kl: kl[-1] < 1e-9,
        ),
    ),
}


def staged(walk: tuple[Stage, ...]) -> list[dict]:
    """The whole settings of a walk, stage by stage: what a stage does not set is as in the one before."""
    setting = {name: Playground.class_traits()[name].default() for name in SETTING}
    whole = []
    for stage in walk:
        setting = setting | stage.setting
        whole.append(setting)
    return whole


def _said(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.7g}"


@functools.cache
def _walks() -> list[dict]:
    """The walks as the page has them, with their numbers."""
    told = []
    for title, walk in WALKS.items():
        stages = [
            {"set": setting, "say": stage.say.format(kl=_said(error(**setting)), floor=_said(floor))}
            for stage, setting in zip(walk, staged(walk), strict=True)
            for floor in [ddim_floor(SIDE**2, setting["steps"])]
        ]
        told.append({"title": title, "stages": stages})
    return told
