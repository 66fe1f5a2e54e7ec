"""Training into a folder from Python: recipes, processes and networks of one's own; what a record can give back."""

import json
import pickle
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import bdbook
from bdbook import cold, oracle, pixels, processes, recipes, samplers
from bdbook.evaluation import generation, tiling
from bdbook.page import walks
from bdbook.processes import Process, schedule
from bdbook.recipes import pasted
from bdbook.training import records
from bdbook.transforms import DCT, Basis, Circle, Pixel, Size, lengths
from bdbook.unet import UNetConfig

TINY = UNetConfig(size=8, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), head_dim=8)
QUICK = {"profile": "smoke", "checkpoint_every": 2, "batch": 4}


def images(count: int = 24, channels: int = 1, size: Size = 8) -> torch.Tensor:
    """Blobs: not noise, so that there is a spectrum."""
    random = torch.Generator().manual_seed(0)
    white = torch.randn(count, channels, *lengths(size), generator=random)
    return (processes.heat_dissipation(size, sigma_max=1.0, steps=1).mean(white, 1.0) * 2).clamp(-1, 1)


@dataclass(frozen=True)
class Squares(Process):
    """A process of one's own: alpha = 1 - t^2, sigma = t + floor, in a DCT."""

    size: int
    floor: float = 0.02
    steps = None
    name = "squares"

    @property
    def basis(self) -> Basis:
        return DCT(self.size)

    def alpha(self, t):
        return 1 - t**2 * 0.999

    def sigma(self, t):
        return t + self.floor


def fades(t):
    return 1 - t * 0.999


def rises(t):
    return 0.02 + t * (0.5 + torch.ones(1, 1, 8, 8, dtype=torch.float64))


BY_FUNCTIONS = Process(DCT(8), fades, rises, name="by functions")


class Shallow(torch.nn.Module):
    """A network of one's own."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels + 1, channels, 3, padding=1)

    def forward(self, x, t):
        return self.conv(torch.cat([x, t.reshape(-1, 1, 1, 1).expand_as(x[:, :1])], 1))


OWN = {
    "a subclass": (Squares(8), None),
    "functions": (BY_FUNCTIONS, None),
    "a subclass and a network": (Squares(8), Shallow()),
    "one of the library's": (processes.blurring_diffusion(8, sigma_max=1.5), None),
    "one of the library's and a network": (processes.blur_diffusion(8, steps=20), Shallow()),
    "without noise": (cold.dct_blur(8, sigma_max=1.0), None),
    "of series": (processes.blurring_diffusion((16,), sigma_max=1.5), None),
    "of rings": (processes.heat_dissipation((Circle(12),), sigma_max=1.5, steps=20), None),
    "of pictures that wrap": (processes.soft_diffusion((4, Circle(6)), sigma_max=1.5), None),
    "of volumes": (processes.ddpm(20, DCT((4, 2, 6))), None),
    "of volumes, without a basis": (processes.cosine_diffusion(Pixel(3)), None),
}


def size_of(process):
    """Of the images that it is trained on here."""
    if isinstance(process.basis, Pixel):
        return {2: 8, 3: (2, 4, 4)}[process.basis.dims]
    return process.basis.size


def same(a: torch.nn.Module | dict, b: torch.nn.Module | dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", OWN)
def test_a_process_of_ones_own_is_trained_resumed_sampled_loaded(name, tmp_path):
    process, net = OWN[name]
    sides, given = lengths(size_of(process)), images(size=size_of(process))
    own = {} if net is not None else {"unet": replace(TINY, size=sides), "flip": len(sides) != 2}
    whole = bdbook.fit(process, given, tmp_path / "whole", net=net, steps=6, **QUICK, **own)
    assert whole.record["step"] == 6

    bdbook.fit(process, given, tmp_path / "parts", net=net, steps=4, **QUICK, **own)
    told = []
    parts = bdbook.fit(
        process, given, tmp_path / "parts", net=net, steps=6, resume=True, tell=told.append, **QUICK, **own
    )
    final = [load_file(tmp_path / each / "weights.safetensors") for each in ("whole", "parts")]
    assert same(*final)
    assert told[0].startswith(f"given: 24 images; {'x'.join(map(str, sides))}, grey")
    assert len(list((tmp_path / "whole").glob("samples-*.png"))) == (3 if len(sides) == 2 else 0)
    assert told[1].startswith(f"{process.name}: ")
    assert "going on from step 4 of 6" in told[1]

    known = pasted.written(process)
    try:
        from_record = pasted.restored(known)
    except ValueError:
        from_record = None
    asked = {} if from_record is not None else {"process": process}
    asked |= {} if net is None else {"net": net}
    again = bdbook.load_run(tmp_path / "whole", images=given, **asked)
    assert again.denoiser.process == process
    drawn = whole.draw(3, seed=1, steps=3)
    assert drawn.shape == (3, 1, *sides)
    assert torch.equal(again.draw(3, seed=1, steps=3), drawn)
    assert torch.equal(parts.draw(3, seed=1, steps=3), drawn)


def test_what_a_record_cannot_hold_is_asked_for(tmp_path):
    bdbook.fit(Squares(8, 0.05), images(), tmp_path / "a", net=Shallow(), steps=2, **QUICK)
    with pytest.raises(ValueError, match=r"a network of its own, Shallow of 19 parameters; give it: load_run"):
        bdbook.load_run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"process of its own, Squares\(size=8, floor=0.05\); give it: load_run"):
        bdbook.load_run(tmp_path / "a", net=Shallow())
    with pytest.raises(ValueError, match=r"the run's process is Squares\(size=8, floor=0.05\), but .*floor=0.02"):
        bdbook.load_run(tmp_path / "a", net=Shallow(), process=Squares(8))
    with pytest.raises(ValueError, match=r"network is Shallow of 19 parameters, but Conv2d of 10 parameters"):
        bdbook.load_run(tmp_path / "a", net=torch.nn.Conv2d(1, 1, 3), process=Squares(8, 0.05))
    run = bdbook.load_run(tmp_path / "a", net=Shallow(), process=Squares(8, 0.05))
    with pytest.raises(ValueError, match=r"handed over in Python; give them again: load_run\(folder, images=images\)"):
        run.images()


def test_a_record_is_read_without_running_what_it_says(tmp_path):
    marker = tmp_path / "ran"
    for text in (
        f"__import__('pathlib').Path({str(marker)!r}).touch()",
        f"open({str(marker)!r}, 'w')",
        f"BlurringDiffusion(size=open({str(marker)!r}, 'w'))",
        "Process(DCT(8), print, print)",
        "BlurringDiffusion(8).__class__()",
    ):
        with pytest.raises(ValueError, match="has a process of its own"):
            pasted.restored(text)
    assert not marker.exists()


def test_another_process_does_not_go_on_with_a_run(tmp_path):
    bdbook.fit(Squares(8), images(), tmp_path, unet=TINY, steps=2, **QUICK)
    with pytest.raises(ValueError, match=r"another configuration: recipe.process \(stored Squares.*floor=0.1"):
        bdbook.fit(Squares(8, 0.1), images(), tmp_path, unet=TINY, steps=4, resume=True, **QUICK)
    with pytest.raises(ValueError, match="already holds a run; add --resume"):
        bdbook.fit(Squares(8), images(), tmp_path, unet=TINY, steps=4, **QUICK)


def test_a_process_of_ones_own_is_measured_and_exported(tmp_path):
    run = bdbook.fit(BY_FUNCTIONS, "digits", tmp_path, unet=TINY, steps=2, sample_steps=5, **QUICK)
    assert run.record["data"] == "digits"
    found = generation.of_samples(run, generation.Protocol(count=40, samples=40))
    assert np.isfinite([found["frechet"], found["sliced_wasserstein"]]).all()
    bound = generation.bits(run, images(4))
    assert np.isfinite(bound.mean)
    walk = walks.walk(run)
    assert (walk["process"], walk["settings"]["steps"]) == ("table", 5)
    assert len(walks.weights(run.denoiser.net)) == 2 * sum(p.numel() for p in run.denoiser.net.parameters())


def test_a_degradation_of_ones_own_restores_a_picture_of_any_size(tmp_path):
    run = bdbook.fit(cold.dct_blur(8, sigma_max=1.0, steps=4), images(), tmp_path, steps=2, **QUICK)
    done = tiling.restore(run, images(1, size=40)[0], degrade=True, steps=2)
    assert done.ways["tacos"].shape == (1, 40, 40)


def test_a_recipe_of_an_oblong_size_restores(tmp_path):
    """Sides that differ: once a raw TypeError."""
    recipe = replace(recipes.get("photos-deblur"), unet=replace(TINY, size=(16, 24), in_channels=1))
    recipe = replace(recipe, settings={**recipe.settings, "steps": 4})
    oblong = torch.nn.functional.interpolate(images(size=16), (16, 24))
    run = bdbook.fit(recipe, oblong, tmp_path, steps=2, **QUICK)
    assert tiling.restore(run, torch.zeros(1, 30, 50), steps=2).ways["tacos"].shape == (1, 30, 50)


def test_a_name_of_a_process_takes_the_size_of_the_images(tmp_path):
    run = bdbook.fit("blurring_diffusion", images(), tmp_path, unet=TINY, steps=2, **QUICK)
    assert run.denoiser.process == processes.blurring_diffusion(8)
    assert bdbook.load_run(tmp_path, images=images()).denoiser.process == processes.blurring_diffusion(8)


@pytest.mark.parametrize("size", [(16,), (Circle(8), 2, 4)])
def test_training_on_gaussian_series_and_volumes_draws_what_the_laboratory_says(size, tmp_path):
    """A network that has learnt next to nothing is the Wiener filter: the law of its samples is known exactly."""
    process = processes.blurring_diffusion(size, sigma_max=2.0)
    exact = oracle.Gaussian(process.basis, 0.05 / (0.2 + process.basis.freq2))
    given = exact.sample(500, torch.Generator().manual_seed(1)).float()
    unet = replace(TINY, size=lengths(size), multipliers=(1,), attention=())
    run = bdbook.fit(process, given, tmp_path, unet=unet, unbounded=True, learning_rate=1e-9, steps=2, **QUICK)
    steps, count = 12, 1000
    predicted = run.spectrum.sampler_error(process, process.times(steps), samplers.ancestral, start=(0 * ONE, ONE))
    u = process.basis.forward(run.draw(count, seed=0, steps=steps).double())
    # 6 standard errors of a mean and of a variance; of so few steps the error is larger.
    bar = 6 * (2 / count) ** 0.5
    assert ((u.mean(0) - predicted.mean[0]).abs() < 6 * (predicted.variance[0] / count).sqrt()).all()
    assert ((u.var(0) / predicted.variance[0] - 1).abs() < bar).all()
    assert ((u.var(0) / predicted.target_variance[0] - 1).abs() > bar).any()


ONE = torch.ones((), dtype=torch.float64)


def test_a_name_of_a_process_takes_the_axes_of_the_images(tmp_path):
    for name, size, process in (
        ("blurring_diffusion", (8,), processes.blurring_diffusion((8,))),
        ("ddpm", (4, 2, 2), processes.ddpm(basis=Pixel(3))),
    ):
        unet = replace(TINY, size=size)
        run = bdbook.fit(name, images(size=size), tmp_path / name, unet=unet, steps=2, **QUICK)
        assert run.denoiser.process == process
        assert bdbook.load_run(tmp_path / name, images=images(size=size)).recipe.size == size


@pytest.mark.parametrize("size", [(16,), (4, Circle(8)), (2, 4, 4), 8, (8, 4)])
def test_the_size_of_its_network_says_a_recipes_axes(size):
    """For processes by name too; and in a record all of it comes back."""
    for name in ("blurring_diffusion", "ddpm", "equal_snr", "blur_diffusion"):
        recipe = recipes.Recipe("own", "given", name, {}, "eps", replace(TINY, size=size))
        assert recipe.size == size
        assert recipe.outline().basis.size == DCT(size).size
        again = recipes.Recipe.from_dict(json.loads(json.dumps(recipe.as_dict())))
        assert again == recipe
        assert again.build_net()(torch.zeros(1, 1, *lengths(size)), torch.zeros(1)).shape[2:] == lengths(size)


@pytest.mark.parametrize("size", [(Circle(8),), (4, Circle(8)), (Circle(4), 4, Circle(8))])
def test_a_network_goes_around_where_its_process_does(size, tmp_path):
    """The book's network and one with settings of one's own; a run from before it did so goes on as it was."""
    process, sides = processes.blurring_diffusion(size, sigma_max=1.5), lengths(size)
    around = tuple(axis for axis, side in enumerate(size) if isinstance(side, Circle))
    asked = {"book": {}, "own": {"unet": replace(TINY, size=sides)}}
    asked["not"] = {"unet": replace(TINY, size=sides, wraps=False)}
    recipe = {name: recipes.of_process(process, (1, *sides), **changes) for name, changes in asked.items()}
    assert {name: each.unet.around for name, each in recipe.items()} == {"book": around, "own": around, "not": ()}
    for each in recipe.values():
        stored = json.loads(json.dumps(each.as_dict()))
        assert recipes.Recipe.from_dict(stored) == each
        del stored["unet"]["wraps"]
        for wrote in (size, sides):  # whether an old record knew of the circle or not
            stored["unet"]["size"] = [asdict(side) if isinstance(side, Circle) else side for side in wrote]
            old = recipes.Recipe.from_dict(stored)
            assert old.unet.around == ()
            identity = {"recipe": stored, "seed": 0}
            known = records.as_identified_now(identity)
            records.require_same(tmp_path, known, records.as_identified_now({"recipe": old.as_dict(), "seed": 0}))
            if each is not recipe["not"]:
                now = records.as_identified_now({"recipe": each.as_dict(), "seed": 0})
                with pytest.raises(ValueError, match=r"another configuration: recipe\.unet"):
                    records.require_same(tmp_path, known, now)


def test_what_has_other_axes_than_its_process_is_refused(tmp_path):
    series, process = images(size=(8,)), processes.blurring_diffusion((8,))
    with pytest.raises(ValueError, match=r"images had shape \(24, 1, 8\); expected \(N, C, H, W\)"):
        bdbook.fit(Squares(8), series)
    with pytest.raises(ValueError, match=r"images had shape \(24, 1, 8, 8\); expected \(N, C, L\)"):
        bdbook.fit(process, images())
    with pytest.raises(
        ValueError, match=r"expects images \(N, \(1, 8\)\), but got \(24, 1, 9\); .* a process of their"
    ):
        recipes.of_process(process, (1, 8)).check_images(images(size=(9,)))
    with pytest.raises(ValueError, match=r"\(1, 8, 8\) were given to blurring_diffusion, which is for .* \(C, L\)"):
        recipes.of_process(process, (1, 8, 8))
    with pytest.raises(ValueError, match=r"image size was \(8,\); this is for pictures alone"):
        bdbook.fit(process, "digits", tmp_path / "named")
    with pytest.raises(ValueError, match=r"image size was \(8,\); this is for pictures alone"):
        recipes.of_process(process, (1, 8)).resized(16)
    for write in (pixels.png, pixels.grid, pixels.to_pixels):
        with pytest.raises(ValueError, match=r"images had shape \(24, 1, 8\); expected pictures, \(N, C, H, W\)"):
            write(series)


def test_what_cannot_be_trained_is_said():
    with pytest.raises(ValueError, match=r"unknown recipe 'digits-bluring': did you mean 'digits-blurring'"):
        bdbook.fit("digits-bluring")
    with pytest.raises(ValueError, match="names no data; give images"):
        bdbook.fit(Squares(8))
    with pytest.raises(ValueError, match=r"nothing says their size; give them as a tensor"):
        bdbook.fit("ddpm", "digits")
    with pytest.raises(ValueError, match="recipe digits-ddpm has a network"):
        bdbook.fit("digits-ddpm", net=Shallow())
    with pytest.raises(ValueError, match=r"images had shape \(4, 8, 8\); expected \(N, C, H, W\)"):
        bdbook.fit(Squares(8), torch.zeros(4, 8, 8))


def test_callbacks_and_time(tmp_path):
    """Every checkpoint is told of, with a model that draws; a limit of time stops at one, and the next call goes on."""
    seen = []
    run = bdbook.fit(
        Squares(8),
        images(),
        tmp_path,
        unet=TINY,
        steps=6,
        minutes=0.0,
        on_checkpoint=lambda run: seen.append((run.record["step"], run.draw(1, 0, steps=2).shape)),
        **QUICK,
    )
    assert run.record["step"] == 2
    assert seen == [(2, (1, 1, 8, 8))]
    assert not (tmp_path / "weights.safetensors").exists()
    run = bdbook.fit(Squares(8), images(), tmp_path, unet=TINY, steps=6, resume=True, **QUICK)
    assert run.record["step"] == 6
    log = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log == [2, 4, 6]


# --- processes are values ---------------------------------------------------------------------------------------

SIX = {
    "ddpm": (processes.ddpm(500), {"steps": 20}),
    "cosine_diffusion": (processes.cosine_diffusion(DCT(8)), {"logsnr_min": -5.0}),
    "heat_dissipation": (processes.heat_dissipation(8), {"sigma_max": 3.0}),
    "blurring_diffusion": (processes.blurring_diffusion((8, 12), sigma_max=3.0), {"d_min": 0.1}),
    "blur_diffusion": (processes.blur_diffusion(8, kernel=(0.1, 0.8, 0.1)), {"f_max": 0.3}),
    "soft_diffusion": (processes.soft_diffusion(8), {"noise_max": 2.0}),
}
VALUES = [
    *(process for process, _ in SIX.values()),
    processes.EqualSNR(DCT((2, 3)), torch.tensor([[[0.1, 2.0, 1 / 3], [1e-7, 1.0, 3.0]]]).double(), kappa=0.3),
    cold.blur(8, steps=3),
    cold.blur(8, steps=3, boundary="circular", to_mean=True),
    cold.dct_blur(8),
    cold.inpainting(8, steps=3),
    cold.inpainting(8, steps=3, where="random"),
    cold.inpainting(8, steps=3, colour=True),
    cold.super_resolution(8, 2),
    cold.colourisation(4),
    cold.noise(8, 4),
    cold.cosine_blend(),
    cold.Snow(8),
]


@pytest.mark.parametrize("process", VALUES, ids=lambda process: type(process).__name__)
def test_a_process_is_a_value(process):
    if isinstance(process, Process):
        process.alpha(1.0)  # what is remembered is no part of it
    names = vars(processes) | vars(cold) | vars(bdbook.priors)
    for copy in (pickle.loads(pickle.dumps(process)), eval(repr(process), dict(names)), replace(process)):
        assert copy == process
        assert hash(copy) == hash(process)
        assert copy is not process
    assert pasted.restored(pasted.written(process)) == process


@pytest.mark.parametrize("name", SIX)
def test_replaced_settings_are_those_of_a_new_process(name):
    process, changes = SIX[name]
    changed = replace(process, **changes)
    assert changed != process
    assert {changed, process, replace(process)} == {changed, process}
    for key, value in changes.items():
        assert getattr(changed, key) == value
    t = 0.5
    fresh = type(process)(**{k: getattr(changed, k) for k in process.__dataclass_fields__ if k != "name"})
    assert torch.equal(changed.alpha(t), fresh.alpha(t))
    assert torch.equal(changed.sigma(t), fresh.sigma(t))
    assert not (torch.equal(changed.alpha(t), process.alpha(t)) and torch.equal(changed.sigma(t), process.sigma(t)))


def test_a_name_is_a_label():
    process = replace(processes.blurring_diffusion(8), name="mine")
    assert process == processes.blurring_diffusion(8)
    assert process.alpha(0.5).shape == (1, 1, 8, 8)
    with pytest.raises(ValueError, match="t was 2"):
        process.alpha(2.0)


def test_functions_make_a_process_that_can_be_replaced_and_pickled():
    assert Process(DCT(8), fades, rises) == BY_FUNCTIONS
    assert pickle.loads(pickle.dumps(BY_FUNCTIONS)) == BY_FUNCTIONS
    assert hash(BY_FUNCTIONS) == hash(replace(BY_FUNCTIONS))
    assert repr(BY_FUNCTIONS) == (
        "Process(basis=DCT(size=(8, 8)), alpha=fades, sigma=rises, steps=None, name='by functions')"
    )
    tabulated = replace(BY_FUNCTIONS, steps=4, name="tabulated")
    assert tabulated.alpha(0.25) == BY_FUNCTIONS.alpha(0.25)
    with pytest.raises(ValueError, match=r"tabulated is tabulated and exists only at t = i / 4"):
        tabulated.alpha(0.3)
    assert BY_FUNCTIONS.alpha(0.3).item() == fades(0.3)


@pytest.mark.parametrize("process", [Squares(8), BY_FUNCTIONS, processes.blurring_diffusion(8)])
def test_schedules_of_a_subclass_take_numbers_and_times_of_a_batch(process):
    t = torch.tensor([0.25, 0.5, 1.0])
    for each in (process.alpha, process.sigma):
        batch = each(t)
        assert batch.dtype == torch.float64
        assert len(batch) == 3
        for i, number in enumerate(t.tolist()):
            assert torch.equal(batch[i : i + 1], each(number))


def test_a_schedule_is_wrapped_once():
    @dataclass(frozen=True)
    class Marked(Squares):
        @schedule
        def alpha(self, t):
            return 1 - t

    assert Marked(8).alpha(0.25).item() == 0.75


def test_remembered_schedules_are_not_pickled():
    process = processes.blurring_diffusion(64)
    before = len(pickle.dumps(process))
    process.alpha(0.5)
    assert len(pickle.dumps(process)) == before
