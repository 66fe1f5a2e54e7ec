"""What the page is given: the same network, and starts of the same law."""

import base64
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
import traitlets
from safetensors.torch import save

from bdbook import priors, processes, recipes, samplers
from bdbook.data import fashion
from bdbook.denoiser import X0
from bdbook.page import live, opening, walks
from bdbook.page.widgets import LiveSampler
from bdbook.page.widgets.sampler import complete
from bdbook.samplers import IHDM_DELTA
from bdbook.training import runs
from bdbook.transforms import DCT, Circle
from bdbook.unet import UNet, UNetConfig

# Whose walks begin at what was made of training pictures: these are compared with them.
real = pytest.mark.skipif(
    not fashion.DEBIAN.is_dir() and os.environ.get("CI") != "true", reason="needs the package dataset-fashion-mnist"
)


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_the_networks_share_their_settings():
    """One file says them for all, and js/unet.js is made from it; tests/browser/test_unet.py compares the answers."""
    told = json.loads(live.read("network"))
    for recipe in live.SYSTEMS:
        assert json.loads(json.dumps(walks.network(live.run_of(recipe).denoiser.net))) == told


@pytest.mark.parametrize(
    "config",
    [
        UNetConfig(size=(16,)),
        UNetConfig(size=(Circle(16), 16)),
        UNetConfig(resblock_updown=True),
        UNetConfig(scale_shift=False),
    ],
)
def test_a_network_that_the_page_does_not_compute_is_named(config):
    with pytest.raises(ValueError, match=r"a UNet of pictures without circles.*this one is UNetConfig"):
        walks.network(UNet(config))
    with pytest.raises(ValueError, match="this network is a Linear"):
        walks.network(torch.nn.Linear(2, 2))


def test_the_spectrum_and_the_settings_are_the_runs():
    for recipe in live.SYSTEMS:
        run, told = live.run_of(recipe), json.loads(live.read(f"walk-{recipe}"))
        basis, shape = run.denoiser.process.basis, (1, 1, told["size"], told["size"])
        assert (told["process"], told["rule"], told["predicts"]) == (
            run.recipe.process,
            run.recipe.rule,
            run.recipe.predicts,
        )
        variance, mean = (torch.from_numpy(floats(told[name]).reshape(shape).copy()) for name in ("variance", "mean"))
        torch.testing.assert_close(basis.forward(mean.double()), run.spectrum.mean, atol=1e-6, rtol=0)
        if told["predicts"] == "spectral":
            torch.testing.assert_close(variance.double(), run.denoiser.predicts.variance0, rtol=1e-6, atol=0)


def start(recipe: str) -> tuple[np.ndarray, np.ndarray]:
    told = json.loads(live.read(f"walk-{recipe}"))
    return floats(told["centres"]).reshape(-1, told["size"] ** 2), floats(told["spread"])


@pytest.mark.parametrize("recipe", ["fashion-ddpm", "fashion-cosine", "fashion-blurring", "fashion-blur"])
def test_processes_that_end_in_white_noise_begin_there(recipe):
    centres, spread = start(recipe)
    assert len(centres) == 1
    assert (centres == 0).all()
    assert (spread == 1).all()


@pytest.mark.parametrize("recipe", ["fashion-soft", "fashion-equal-snr"])
def test_where_blur_or_noise_follows_the_data_a_walk_begins_at_the_marginal(recipe):
    run = live.run_of(recipe)
    centres, spread = start(recipe)
    process = run.denoiser.process
    draws = priors.marginal(run.spectrum, process)(4000, torch.Generator().manual_seed(0))
    u = process.basis.forward(draws.double())
    mean = process.basis.forward(torch.from_numpy(centres.copy()).double().reshape(1, 1, 16, 16))
    deviation = torch.from_numpy(spread.copy()).double().reshape(1, 1, 16, 16)
    assert ((u.mean(0) - mean[0]).abs() < 5 * deviation[0] / 4000**0.5).all()
    torch.testing.assert_close(u.std(0) / deviation[0], torch.ones(1, 16, 16).double(), atol=0.06, rtol=0)


@real
def test_heat_dissipation_begins_at_blurred_clothes():
    run = live.run_of("fashion-heat")
    centres, spread = start("fashion-heat")
    blurred = run.denoiser.process.mean(run.images().double(), 1.0).flatten(1)
    assert torch.cdist(torch.from_numpy(centres.copy()).double(), blurred).min(1).values.max() < 1e-5
    assert len(np.unique(centres[:, 0])) > 40
    assert (spread == np.float32(IHDM_DELTA)).all()


@real
def test_cold_diffusion_begins_at_flat_greys():
    run = live.run_of("fashion-from-mean")
    centres, spread = start("fashion-from-mean")
    assert np.ptp(centres, axis=1).max() < 1e-5
    greys = run.images().mean((1, 2, 3)).numpy()
    assert abs(centres[:, 0].mean() - greys.mean()) < 4 * greys.std() / len(centres) ** 0.5
    assert 0.7 < centres[:, 0].std() / greys.std() < 1.35
    assert (spread == np.float32(0.002)).all()


def test_no_walk_of_the_page_asks_for_pictures(monkeypatch):
    monkeypatch.setattr(runs.Run, "pixels", None)
    for recipe in live.SYSTEMS:
        walk = json.loads(live.read(f"walk-{recipe}"))
        assert len(floats(walk["centres"])) % walk["size"] ** 2 == 0


def test_a_recorded_start_stands_in_for_the_images(monkeypatch, tmp_path):
    """Of a run whose pictures are not here."""
    begin = {"centres": torch.rand(3, 1, 16, 16), "spread": torch.full((1, 1, 16, 16), 0.25)}
    (tmp_path / live.START).write_bytes(save(begin))
    run = live.run_of("fashion-heat")
    monkeypatch.setattr(live.recorded, "folder_of", lambda _: tmp_path)
    monkeypatch.setattr(live, "run_of", lambda _: run)
    monkeypatch.setattr(runs.Run, "images", None)
    walk = json.loads(live.read("walk-fashion-heat"))
    np.testing.assert_array_equal(floats(walk["centres"]), begin["centres"].flatten())
    np.testing.assert_array_equal(floats(walk["spread"]), begin["spread"].flatten())


def test_a_system_that_the_page_does_not_know_goes_as_tables():
    """Matrices of the basis, alpha and sigma at each of the walk's times: what the page cannot compute it is given."""
    known = live.run_of("fashion-ddpm")
    process = processes.Process(DCT(16), halves, rises, name="mine")
    recipe = recipes.of_process(process, (1, 16, 16), sample_steps=4)
    walk = walks.walk(runs.Run(recipe, known.record, replace(known.denoiser, process=process), known.spectrum))
    assert (walk["process"], walk["size"]) == ("table", 16)
    assert walk["settings"]["steps"] == 4
    alpha, sigma = (floats(walk["settings"][key]).reshape(5, 16, 16) for key in ("alpha", "sigma"))
    for i in range(5):
        np.testing.assert_allclose(alpha[i], process.alpha(i / 4).expand(1, 1, 16, 16)[0, 0], rtol=1e-6)
        np.testing.assert_allclose(sigma[i], process.sigma(i / 4).expand(1, 1, 16, 16)[0, 0], rtol=1e-6)
    for side, matrix in zip(("rows", "cols"), DCT(16).matrices(), strict=True):
        np.testing.assert_allclose(floats(walk["settings"][side]).reshape(16, 16), matrix, rtol=1e-5, atol=1e-7)


def test_a_setting_that_the_page_does_not_know_is_not_lost():
    """Lee's order reversed: by name and settings the page would walk another process."""
    known = live.run_of("fashion-ddpm")
    for process, name in (
        (processes.blur_diffusion(16, steps=20), "blur_diffusion"),
        (processes.blur_diffusion(16, steps=20, order="fine_to_coarse"), "table"),
        (processes.cosine_diffusion(DCT(16)), "cosine_diffusion"),
        (processes.cosine_diffusion(DCT(16), logsnr_min=-6.0), "table"),
        (processes.equal_snr(known.spectrum, floor=1e-5), "equal_snr"),
        (processes.equal_snr(known.spectrum, floor=1e-5, kappa=0.5), "table"),
    ):
        recipe = recipes.of_process(process, (1, 16, 16), sample_steps=4)
        run = runs.Run(recipe, known.record, replace(known.denoiser, process=process), known.spectrum)
        assert walks.walk(run)["process"] == name


@pytest.mark.parametrize("shape", [(1, 16, 8), (3, 16, 16)])
def test_images_that_the_page_cannot_walk_are_named(shape):
    known = live.run_of("fashion-ddpm")
    recipe = recipes.of_process(processes.ddpm(), shape, sample_steps=4)
    with pytest.raises(ValueError, match=" x ".join(map(str, shape)) + "; the page walks squares of one channel"):
        walks.walk(runs.Run(recipe, known.record, known.denoiser, known.spectrum))


def halves(t):
    return 2 ** (-8 * t) * torch.ones(1, 1, 16, 16, dtype=torch.float64)


def rises(t):
    return 0.1 + t


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="weights-fashion-bluring"):
        live.read("weights-fashion-bluring")


def test_the_widget_answers_with_files(monkeypatch):
    figure, sent = LiveSampler(), []
    monkeypatch.setattr(figure, "send", lambda content, buffers=None: sent.append((content, buffers)))
    figure._handle_custom_msg({"file": "walk-fashion-ddpm"}, [])
    figure._handle_custom_msg({"file": "../secret"}, [])
    (told, buffers), (refused, none) = sent
    assert told == {"file": "walk-fashion-ddpm"}
    assert buffers == [live.read("walk-fashion-ddpm")]
    assert none is None
    assert "../secret" in refused["error"]


def test_the_flow_rule_is_offered_and_knows_what_the_page_is_told():
    """Its spectrum is that of the preconditioning, floor included; only what has noise has clocks."""
    assert LiveSampler(right={"rule": "flow", "order": 2}).right["rule"] == "flow"
    for recipe in ("fashion-blurring", "fashion-blur"):  # the cosine basis, and Lee's own
        run = live.run_of(recipe)
        told, law = walks.walk(run), run.flow().spectrum
        assert law.basis == run.denoiser.process.basis
        variance, mean = (torch.tensor(floats(told[key])).reshape(1, 1, 16, 16) for key in ("variance", "mean"))
        np.testing.assert_allclose(variance, law.variance, rtol=1e-6)
        np.testing.assert_allclose(law.basis.forward(mean.double()), law.mean, atol=1e-6)
    bare = replace(run, denoiser=replace(run.denoiser, predicts=X0))
    assert bare.flow(0.5) == samplers.flow(bare.spectrum, 0.5), "without preconditioning that of the data"
    cold = live.run_of("fashion-from-mean")
    with pytest.raises(ValueError, match="noise"):
        cold.draw(1, 0, cold.flow(), 5)


def test_settings_are_completed_and_checked():
    figure = LiveSampler(left={"steps": 20, "rule": "carry"})
    assert figure.left == {"recipe": "fashion-blurring", "rule": "carry", "steps": 20, "order": 1, "rho": 0.5}
    for wrong, words in (
        ({"steps": 3}, "5 to 250"),
        ({"rule": "ancestal"}, 'Did you mean "ancestral"'),
        ({"rule": "flo"}, 'Did you mean "flow"'),
        ({"recipe": "fashion-hot"}, "expected"),
        ({"speed": 1}, "left has speed"),
        (
            {"rule": "tacos"},
            "rule is tacos, which does not fit fashion-blurring; expected ancestral, ddim, flow, carry",
        ),
        ({"recipe": "fashion-from-mean", "rule": "ddim"}, "does not fit fashion-from-mean; expected tacos, naive"),
        ({"recipe": "fashion-from-mean", "steps": 41}, "steps is 41; expected 40 or less of fashion-from-mean"),
        ({"recipe": "fashion-from-mean", "order": 2}, "order is 2; expected 1 or less of fashion-from-mean"),
    ):
        with pytest.raises(traitlets.TraitError, match=words):
            figure.left = wrong
    assert figure.left["steps"] == 20


def test_a_walk_takes_the_steps_of_its_recipe():
    for recipe in live.SYSTEMS:
        assert json.loads(live.read(f"walk-{recipe}"))["steps"] == live.run_of(recipe).recipe.sample_steps


def test_weights_are_those_of_the_run_one_after_another():
    """In half precision, of which nothing is lost: recorded runs keep no more."""
    for recipe in live.SYSTEMS:
        net = live.run_of(recipe).denoiser.net
        expected = np.concatenate([tensor.numpy().ravel() for tensor in net.state_dict().values()])
        np.testing.assert_array_equal(np.frombuffer(live.read(f"weights-{recipe}"), "<f2"), expected)


def test_what_a_system_offers_begins_with_its_own():
    for recipe in live.SYSTEMS:
        run, known = live.run_of(recipe), live.offered(recipe)
        assert known["rule"] == run.recipe.rule
        assert known["rule"] in known["rules"]
        assert known["most"] == min(run.denoiser.process.steps or 250, 250)
        assert known["steps"] == min(50, known["most"])
        assert ("flow" in known["rules"]) == (known["order"] == 2) == (not run.recipe.is_cold)
        assert LiveSampler(left={"recipe": recipe}).left == {
            **{"recipe": recipe, "rule": known["rule"], "steps": known["steps"]},
            **{"order": 1, "rho": 0.5},
        }


def test_each_system_has_a_walk_to_open_with_and_it_is_the_librarys():
    """Recorded with its own setting; with another the figure opens empty. The last guess is where it ends."""
    for recipe in live.SYSTEMS:
        setting = complete({"recipe": recipe})
        told = opening.opening(setting, 0)
        assert told["frames"]["t"][0] == 1
        assert told["frames"]["t"][-1] == 0
        x, guess = (
            np.frombuffer(base64.b64decode(told["frames"][name]), "<f2").reshape(-1, opening.COUNT, 256)
            for name in ("x", "guess")
        )
        assert len(x) == len(guess) == len(told["frames"]["t"]) == opening.FRAMES
        assert opening.opening(setting, 1) is None
        assert opening.opening({**setting, "steps": 6}, 0) is None
    assert LiveSampler(seed=1).state()["_opening"] == {}
    assert set(LiveSampler().state()["_opening"]) == {"left", "right"}


def test_a_recorded_walk_is_taken_again():
    """By the file's own function, of a few steps, against the library's loop with the same noise."""
    run, told = live.run_of("fashion-blurring"), json.loads(live.read("walk-fashion-blurring"))
    setting = complete({"recipe": "fashion-blurring", "rule": "ddim", "steps": 5, "order": 2})
    x = opening.start(run, told, 3)
    *_, (t, state, guess) = opening.walked(run, x, setting, 3)
    last = samplers.last(samplers.sample(run.denoiser, x, run.denoiser.process.times(5), "ddim", order=2))
    assert t == 0
    torch.testing.assert_close(state, last.x)
    torch.testing.assert_close(guess, last.estimate.x0_hat)
    assert abs(opening.noise(3, 2, 16).std() - 1) < 0.1
    found = safetensors.torch.load(opening.record(run, told, setting, 3))
    torch.testing.assert_close(found["x"][-1], state.half())
    torch.testing.assert_close(found["x"][0], x.half())
