"""A scheduler of diffusers for processes that blur: one alpha and one sigma per frequency, and the book's rules.

    scheduler = BlurringScheduler(blurring_diffusion(16), prediction_type="epsilon")
    x_t = scheduler.add_noise(x0, noise, timesteps)             # training, as with diffusers' own
    loss = mse_loss(unet(x_t, timesteps).sample, scheduler.get_target(x0, noise, timesteps))

    scheduler.set_timesteps(100)
    x = scheduler.start((8, 1, 16, 16), generator)
    for k in scheduler.timesteps:
        x = scheduler.step(unet(x, k).sample, k, x, generator).prev_sample

A step is that of `samplers.sample`, number for number, with the same draws of the generator. All that makes the
scheduler is in its scheduler_config.json, as plain data: nothing of it is evaluated or unpickled. This module imports
diffusers, and is imported by its own name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

try:
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
    from diffusers.utils.torch_utils import randn_tensor
except ModuleNotFoundError as error:
    what = f'the scheduler needs {error.name}, which is missing: pip install "bdbook[diffusers]"'
    raise ModuleNotFoundError(what, name=error.name) from error

from bdbook import priors, samplers
from bdbook.adapters.tables import table, time_of
from bdbook.denoiser import PREDICTIONS, Denoiser, Estimate, Observed, Prediction, Spectral, V
from bdbook.errors import unknown
from bdbook.oracle import Gaussian
from bdbook.processes import Degradation, Spectrum, require_basis
from bdbook.recipes import pasted
from bdbook.samplers import Rule, check_order, guess_of, pairs
from bdbook.shapes import AnyImages, Images
from bdbook.times import ROUNDING
from bdbook.transforms import at_least_float32

# What diffusers calls the predictions that it has too.
ITS_NAMES = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
PREDICTION_TYPES = (*ITS_NAMES, *(name for name in PREDICTIONS if name not in ITS_NAMES.values()), "spectral")
# N where neither the process nor the caller says it: diffusers' own.
USUAL_STEPS = 1000


def _ddim(eta: float = 0.0) -> Rule:
    return partial(samplers.ddim, eta=eta)


def _analytic(spectrum: Spectrum) -> Rule:
    return samplers.analytic(spectrum.variance)


def _coloured(spectrum: Spectrum, power: float = 1.0) -> Rule:
    return samplers.coloured(spectrum.variance, power)


def _matched(spectrum: Spectrum) -> Rule:
    return samplers.matched(spectrum.variance)


# Rules that are made of settings, and of the data's spectrum first where they have a parameter of that name.
MADE: dict[str, Callable[..., Rule]] = {
    "ddim": _ddim,
    "ihdm": samplers.ihdm,
    "partial_carry": samplers.partial_carry,
    "flow": samplers.flow,
    "analytic": _analytic,
    "coloured": _coloured,
    "matched": _matched,
}

RULE_NAMES = sorted({*samplers.RULES, *MADE})


@dataclass
class BlurringSchedulerOutput(SchedulerOutput):
    """prev_sample: x_s. pred_original_sample: x0_hat (of a less_blurred network the less blurred image)."""

    pred_original_sample: Tensor | None = None


class BlurringScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # both have a config_name
    """A process, what its network predicts and a rule, with the methods of diffusers' schedulers.

    process: one of the library's, or its repr, as which it is stored. num_train_timesteps: N, timestep k being t =
    (k + 1) / N; None: the process's own table, or 1000. prediction_type: epsilon, sample, v_prediction, or what
    diffusers has no name for: residual, less_blurred, step_mean, spectral. rule: ancestral, ddim, naive, tacos,
    momentum, ihdm, partial_carry, flow, analytic, coloured, matched; rule_settings: its numbers, as {"eta": 0.5}.
    solver_order: 1, or 2 to extrapolate from the last two answers at no further call. clip_sample: clamp the guess,
    degraded as far as the step goes, to the range of images. spectrum: mean and variance of the data in the process's
    basis, an `oracle.Gaussian` or {"mean", "variance"} of nested lists (1, C|1, *axes); for spectral prediction, for
    flow, analytic, coloured and matched, and for a start that is the data's marginal.

    Raises ValueError for what the process, the prediction and the rule cannot do together.
    """

    order = 1  # calls of the network a timestep, whatever solver_order is

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        process: Degradation | str,
        num_train_timesteps: int | None = None,
        prediction_type: str = "epsilon",
        rule: str = "ancestral",
        rule_settings: dict[str, float] | None = None,
        solver_order: int = 1,
        clip_sample: bool = False,
        spectrum: Gaussian | dict[str, Any] | None = None,
    ):
        _check_kinds(num_train_timesteps, prediction_type, rule, rule_settings, solver_order, clip_sample)
        self.process = _process(process)
        self.spectrum = _spectrum(spectrum, self.process)
        if num_train_timesteps is None and self.process.steps is None:
            num_train_timesteps = USUAL_STEPS
        count = table(self.process, num_train_timesteps)
        self.predicts = _prediction(prediction_type, self.spectrum)
        self.rule = _rule(rule, rule_settings or {}, self.spectrum)
        _try(self.rule, self.process)
        self.register_to_config(  # type: ignore[no-untyped-call]
            process=pasted.written(self.process),
            num_train_timesteps=count,
            rule_settings=dict(rule_settings or {}),
            spectrum=None if self.spectrum is None else _plain(self.spectrum),
            _use_default_values=[],  # diffusers would forget what was given, but not by name
        )
        self.num_inference_steps: int | None = None
        self._answers: dict[int, Estimate] = {}
        self._set(self.process.times(count), None)

    @classmethod
    def of(cls, denoiser: Denoiser, **settings: Any) -> BlurringScheduler:
        """The scheduler of a denoiser, e.g. of a trained run's: BlurringScheduler.of(run.denoiser, rule="ddim").

        settings: those of the class but process and prediction_type; the spectrum is that of a spectral denoiser, where
        none is given.
        """
        predicts = denoiser.predicts
        if isinstance(predicts, Spectral):
            spectrum = Gaussian(denoiser.process.basis, predicts.variance0, predicts.mean0)
            settings = {"prediction_type": "spectral", "spectrum": spectrum} | settings
        else:
            names = [name for name in PREDICTION_TYPES if PREDICTIONS.get(ITS_NAMES.get(name, name)) == predicts]
            if not names:
                raise ValueError(f"{predicts} has no name as a prediction_type; expected one of {PREDICTION_TYPES}")
            settings = {"prediction_type": names[0]} | settings
        made: BlurringScheduler = cls(denoiser.process, **settings)
        return made

    @classmethod
    def from_config(
        cls, config: dict[str, Any] | None = None, return_unused_kwargs: bool = False, **settings: Any
    ) -> Any:
        """The scheduler of a config, with some settings changed. Raises ValueError for what is no config of one."""
        if isinstance(config, dict):
            of, known = config.get("_class_name", cls.__name__), inspect.signature(cls.__init__).parameters
            if of != cls.__name__:
                raise ValueError(
                    f"the config is of {of}; expected one of {cls.__name__}, which says its process. For one of "
                    "diffusers, give the process: BlurringScheduler(ddpm(1000))"
                )
            given = [key for key in config if not key.startswith("_")]
            given += [] if return_unused_kwargs else list(settings)
            for key in given:
                if key not in known:
                    raise unknown("setting", key, [name for name in known if name != "self"])
            if "process" not in {*config, *settings}:
                raise ValueError('the config has no "process"; expected the repr of one, as save_pretrained writes it')
        return super().from_config(config, return_unused_kwargs, **settings)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])

    # --- training -----------------------------------------------------------------------------------------------

    def add_noise(self, original_samples: AnyImages, noise: AnyImages, timesteps: Tensor) -> AnyImages:
        """x_t of clean images (B, C, *axes) and white noise of that shape; timesteps: (B,). The images' dtype."""
        return self.process.sample(original_samples, self._time(timesteps), noise).to(original_samples.dtype)

    def get_target(self, sample: AnyImages, noise: AnyImages, timesteps: Tensor) -> AnyImages:
        """What the network should say of `add_noise(sample, noise, timesteps)`, whatever it predicts."""
        return self._target(self.predicts, sample, noise, timesteps)

    def get_velocity(self, sample: AnyImages, noise: AnyImages, timesteps: Tensor) -> AnyImages:
        """v = alpha noise - sigma sample, per frequency."""
        return self._target(V, sample, noise, timesteps)

    def _target(self, predicts: Prediction, sample: AnyImages, noise: AnyImages, timesteps: Tensor) -> AnyImages:
        x0, noise, t = at_least_float32(sample), at_least_float32(noise), self._time(timesteps)
        return predicts.target(self._seen(self.process.sample(x0, t, noise), t), x0, noise).to(sample.dtype)

    # --- sampling -----------------------------------------------------------------------------------------------

    @property
    def init_noise_sigma(self) -> float:
        """1, by which pipelines multiply their white noise; ValueError where a walk begins at something else."""
        if self.process.start.kind != "noise":
            raise ValueError(f"{self._other_start()} and no multiple of noise does")
        return 1.0

    def scale_model_input(self, sample: AnyImages, timestep: float | Tensor | None = None) -> AnyImages:
        """The sample as it is: the network takes x_t."""
        return sample

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        timesteps: list[float] | Tensor | None = None,
    ) -> None:
        """Lay out a walk of num_inference_steps, `process.times`, or one along `timesteps` that ends at t = 0.

        timesteps: decreasing, N t - 1 for each t of a grid but its last, 0; of a process that is continuous in t they
        may be fractions. `self.timesteps` is int64, or float64 where there are fractions. A walk that begins anew
        needs its start anew.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(
                f"num_inference_steps was {num_inference_steps} and timesteps {timesteps}; expected one of both"
            )
        if timesteps is None:
            times = self.process.times(num_inference_steps)
        else:
            walk = self._time(torch.as_tensor(timesteps, dtype=torch.float64).flatten().cpu())
            times = torch.cat([self.process.check(walk).flatten(), torch.zeros(1, dtype=torch.float64)])
        self._set(times, device)
        self.num_inference_steps = len(self.timesteps)

    def start(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, images: Tensor | None = None
    ) -> Images:
        """Where a walk from t = 1 begins, drawn as the process says: `priors.of_process`. (B, C, *axes) float32.

        To be called after set_timesteps. images: training images (N, C, *axes), for a process that begins at them.
        Raises ValueError where the images, or the spectrum, are needed and not there.
        """
        kind, (count, *one) = self.process.start.kind, shape
        if kind in ("images", "mixture") and images is None:
            raise ValueError(f"{self._other_start()} which it cannot know: give images=, or begin(x_T)")
        if kind == "marginal" and self.spectrum is None:
            raise ValueError(f"{self._other_start()} which it cannot know: give the scheduler spectrum=, or begin(x_T)")
        spectrum = self.spectrum or Gaussian(self.process.basis, torch.ones(1, *[1] * (len(shape) - 1)))
        prior = priors.of_process(self.process, tuple(one), spectrum, lambda: images)  # type: ignore[arg-type, return-value]
        return self.begin(prior(count, torch.default_generator if generator is None else generator))

    def begin(self, x_T: AnyImages) -> AnyImages:
        """Say that a walk from t = 1 begins at x_T, however it was drawn; x_T itself. After set_timesteps."""
        self._begun = True
        return x_T

    def step(
        self,
        model_output: AnyImages,
        timestep: float | Tensor,
        sample: AnyImages,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> BlurringSchedulerOutput | tuple[AnyImages, AnyImages]:
        """x_s from x_t (`sample`) and what the network said of it, s being the time after t in the walk.

        Noise is drawn at every step, needed or not, so that one generator gives the images of `samplers.sample`.
        Half-precision samples are computed with in float32 and returned as they came. Where a walk from t = 1 begins
        at something other than white noise, the first step raises unless `start` or `begin` was called.
        """
        index = self._index(timestep)
        t, s = self._times[index], self._times[index + 1]
        if index == 0 and t == 1.0 and not self._begun and self.process.start.kind != "noise":
            raise ValueError(
                f"{self._other_start()} and diffusers' pipelines at white noise. After set_timesteps draw x_T with "
                "start(shape, generator), or say begin(x_T) of your own"
            )
        x_t = at_least_float32(sample)
        now = Estimate(self._seen(x_t, t), model_output.to(x_t.dtype), self.predicts)
        before = self._answers.get(index - 1)
        guess = guess_of(now, before, t, s, self.rule, self.config["clip_sample"])
        noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
        x_s = samplers.step(guess, t, s, self.rule, noise).to(sample.dtype)
        if self.config["solver_order"] == 2:  # the one before stays too: a step that is asked again is the same
            self._answers = {index: now} if before is None else {index - 1: before, index: now}
        x0_hat = now.x0_hat.to(sample.dtype)
        return BlurringSchedulerOutput(x_s, x0_hat) if return_dict else (x_s, x0_hat)

    def _set(self, times: Tensor, device: torch.device | str | None) -> None:
        """Begin a walk along these times."""
        grid = list(pairs(times))
        self._times = [grid[0][0], *(s for _, s in grid)]
        k = torch.tensor(self._times[:-1], dtype=torch.float64) * len(self) - 1
        whole = k.round()
        on_table = bool(((k - whole).abs() <= ROUNDING).all())
        self._timesteps = k
        self.timesteps = (whole.long() if on_table else k).to(device)
        self._answers, self._begun = {}, False

    def _index(self, timestep: float | Tensor) -> int:
        """The place of a timestep in the walk."""
        k = torch.as_tensor(timestep)
        if k.numel() != 1:
            raise ValueError(f"timestep had shape {tuple(k.shape)}; expected one, which all images of a walk share")
        near = (self._timesteps - float(k)).abs()
        index = int(near.argmin())
        if not near[index] <= ROUNDING * len(self):
            raise ValueError(
                f"timestep was {float(k):g}, which is not in this walk: {self.timesteps[:4].tolist()} and so on; call "
                "set_timesteps, and take them from scheduler.timesteps"
            )
        return index

    def _time(self, timesteps: float | Tensor) -> Tensor:
        return time_of(self.process, timesteps, len(self))

    def _seen(self, x_t: Images, t: float | Tensor) -> Observed:
        return Observed(self.process, x_t, self.process.basis.forward(x_t), t)

    def _other_start(self) -> str:
        begins = {
            "noise": "white noise",
            "marginal": "the Gaussian that the data become",
            "images": "training images, degraded",
            "mixture": "a mixture fitted to degraded training images",
        }
        return f"a walk of {self.process.name} begins at {begins[self.process.start.kind]},"


# --- a config as values ---------------------------------------------------------------------------------------------


def _check_kinds(
    steps: object, prediction_type: object, rule: object, rule_settings: object, solver_order: object, clip: object
) -> None:
    """Raise unless each is of its kind, as JSON may have it otherwise."""
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool)):
        raise ValueError(f"num_train_timesteps was {steps!r}; expected a whole number, or None")
    if prediction_type not in PREDICTION_TYPES:
        raise unknown("prediction_type", str(prediction_type), PREDICTION_TYPES)
    if rule not in RULE_NAMES:
        raise unknown("rule", str(rule), RULE_NAMES)
    if rule_settings is not None and not isinstance(rule_settings, Mapping):
        raise ValueError(f'rule_settings were {rule_settings!r}; expected numbers by name, e.g. {{"eta": 0.5}}')
    if not isinstance(clip, bool):
        raise ValueError(f"clip_sample was {clip!r}; expected True or False")
    if isinstance(solver_order, bool) or not isinstance(solver_order, int):
        raise ValueError(f"solver_order was {solver_order!r}; expected 1 or 2")
    check_order(solver_order)


def _process(given: object) -> Degradation:
    """The process, or that of a text; raises where a text could not say it, or something is drawn for each image."""
    text = pasted.written(given) if isinstance(given, Degradation) else given
    if not isinstance(text, str):
        raise ValueError(f"the process was {given!r}; expected one of the library's, e.g. ddpm(), or its repr")
    try:
        process = pasted.read(text)
    except ValueError as error:
        raise ValueError(
            f"the process was {text[:200]}, which is not the repr of one of the library's ({error}); expected e.g. "
            "BlurringDiffusion(size=(16, 16), sigma_max=5.0)"
        ) from error
    if type(process).draw is not Degradation.draw:
        raise ValueError(f"{process.name} draws something for each image, which a scheduler has no place for")
    return process


def _try(rule: Rule, process: Degradation) -> None:
    """Complain now of numbers out of range, of a process that the rule is not for, and of settings that are none."""
    try:
        rule(process, 1.0, 0.0)
        _ = process.basis.freq2
    except (TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{process!r} has a setting that is none ({error}); expected values like its own") from error


def _spectrum(given: object, process: Degradation) -> Gaussian | None:
    """The data's spectrum in the process's basis."""
    if given is None:
        return None
    if isinstance(given, Gaussian):
        require_basis(process, given.basis)
        given = _plain(given)
    if not isinstance(given, Mapping) or set(given) != {"mean", "variance"}:
        raise ValueError(f'the spectrum was {str(given)[:80]}; expected an oracle.Gaussian, or {{"mean", "variance"}}')
    sides, numbers = process.basis.freq2.shape[2:], {}
    for name, nested in given.items():
        try:
            numbers[name] = torch.tensor(nested, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"the spectrum's {name} is no nested list of numbers ({error})") from error
        shape = numbers[name].shape
        if len(shape) != len(sides) + 2 or shape[0] != 1 or (sides.numel() != 1 and shape[2:] != sides):
            raise ValueError(f"the spectrum's {name} had shape {tuple(shape)}; expected (1, C or 1, *{tuple(sides)})")
        if not numbers[name].isfinite().all():
            raise ValueError(f"the spectrum's {name} has NaN or infinite entries; expected numbers")
    return Gaussian(process.basis, numbers["variance"], numbers["mean"])


def _plain(spectrum: Gaussian) -> dict[str, Any]:
    return {"mean": spectrum.mean.tolist(), "variance": spectrum.variance.tolist()}


def _prediction(name: str, spectrum: Gaussian | None) -> Prediction:
    if name != "spectral":
        return PREDICTIONS[ITS_NAMES.get(name, name)]
    if spectrum is None:
        raise ValueError("prediction_type spectral needs the data's spectrum; give spectrum=oracle.Gaussian.fit(...)")
    return spectrum.prediction()


def _rule(name: str, settings: Mapping[str, Any], spectrum: Gaussian | None) -> Rule:
    """A rule by its name and its numbers."""
    made = MADE.get(name)
    known = set() if made is None else set(inspect.signature(made).parameters)
    for key, value in settings.items():
        if key not in known - {"spectrum"}:
            raise ValueError(f"the rule {name} has no setting {key!r}; it has {sorted(known - {'spectrum'}) or 'none'}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"the rule's {key} was {value!r}; expected a number")
    if made is None:
        return samplers.RULES[name]
    if "spectrum" in known:
        if spectrum is None:
            raise ValueError(f"the rule {name} needs the data's spectrum; give spectrum=oracle.Gaussian.fit(...)")
        return made(spectrum, **settings)
    missing = [
        key
        for key, each in inspect.signature(made).parameters.items()
        if each.default is inspect.Parameter.empty and key not in settings
    ]
    if missing:
        raise ValueError(f"the rule {name} needs rule_settings with {', '.join(missing)}")
    return made(**settings)
