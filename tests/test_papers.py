"""The papers' recipes: that they can be built, their settings against the sources, their networks' sizes."""

import json
import math
from dataclasses import replace

import pytest
import torch

from bdbook import cold, recipes
from bdbook.recipes import papers

PAPERS = recipes.PAPERS

# Parameters of every network, counted once: a change must be meant.
COUNTS = {
    "ddpm-cifar10": 35_746_307,
    "ihdm-mnist": 42_082_049,
    "ihdm-cifar10": 61_060_867,
    "ihdm-lsun-church128": 159_981_443,
    "ihdm-afhq256": 210_904_835,
    "hs-cifar10": 60_004_099,
    "hs-church64": 131_226_371,
    "hs-church128": 126_173_635,
    "lee-bedroom64": 121_060_483,
    "lee-church64": 121_060_483,
    "lee-lsun64": 121_060_483,
    "soft-celeba64": 58_687_747,
}
BANSAL_128, BANSAL_32, BANSAL_MNIST = 61_832_835, 63_482_755, 63_480_449


for name, recipe in PAPERS.items():
    if name.startswith("bansal"):
        rgb = {128: BANSAL_128, 32: BANSAL_32}[recipe.size]
        COUNTS[name] = rgb if recipe.channels == 3 else BANSAL_MNIST
# One recipe of each network.
DISTINCT = sorted({recipe.unet: name for name, recipe in PAPERS.items()}.values())


def count(name):
    return papers.parameters(PAPERS[name])


def test_names():
    assert all(recipe.name == name for name, recipe in PAPERS.items())
    assert not PAPERS.keys() & (recipes.BOOK | recipes.ABLATIONS).keys()
    assert recipes.get("lee-lsun64").unet == recipes.get("lee-bedroom64").unet
    assert recipes.get("hs-cifar10") is PAPERS["hs-cifar10"]


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_each_can_be_built(name):
    """Its process, its prediction, its way of sampling and its record."""
    recipe = PAPERS[name]
    process = recipe.build_process()
    times = process.times(recipe.sample_steps)
    assert (times[0], times[-1]) == (1, 0)
    # Every step of a tabulated process, as the papers sample.
    assert len(times) == (process.steps or 1000) + 1
    assert recipe.predicts != "spectral"
    recipe.build_prediction(None)
    stored = json.loads(json.dumps(recipe.as_dict()))
    assert recipes.Recipe.from_dict(stored).as_dict() == recipe.as_dict()
    assert recipe.steps["smoke"] == 20
    assert recipe.steps["cpu"] == recipe.steps["gpu"] >= 60_000


@pytest.mark.parametrize("name", DISTINCT)
def test_each_network_can_be_built(name):
    """On the meta device, where shapes are checked and nothing is computed; its size does not change silently."""
    recipe = PAPERS[name]
    with torch.device("meta"):
        net = recipe.build_net()
        x = torch.empty(2, recipe.channels, recipe.size, recipe.size)
        assert net(x, torch.empty(2)).shape == x.shape
    assert sum(p.numel() for p in net.parameters()) == COUNTS[name]


def test_every_count_is_recorded():
    assert {name: papers.parameters(recipe) for name, recipe in PAPERS.items()} == COUNTS


@pytest.mark.parametrize("name", ["lee-bedroom64", "lee-church64", "lee-lsun64"])
def test_lee_has_as_many_parameters_as_published(name):
    assert count(name) == pytest.approx(121.06e6, rel=1e-3)  # Lee app. G: "121M"; its code: 121.06 M


def test_ddpm_has_as_many_parameters_as_published():
    """Ho et al. 2020 app. B: 35.7 M; the last digit is theirs."""
    assert count("ddpm-cifar10") == pytest.approx(35.7e6, rel=2e-3)


def test_attention_in_the_middle():
    """One block: a norm (2 x 256) and queries, keys, values and a projection (256 x 256 + 256 each)."""
    with_it = recipes.get("ddpm-cifar10")
    without = replace(with_it, unet=replace(with_it.unet, middle_attention=False))
    assert papers.parameters(with_it) - papers.parameters(without) == 2 * 256 + 4 * (256 * 256 + 256)
    assert not recipes.get("photos-sharpen").unet.middle_attention, "it takes pictures of any size"


def test_table_shows_every_network():
    lines = papers.table().splitlines()
    assert len(lines) == 1 + len(PAPERS)
    assert lines[1].split() == ["ddpm-cifar10", "35.75", "M", "35.70", "M"]
    assert [line.split()[0] for line in lines[1:]] == list(PAPERS)


def fields(recipe):
    return (
        recipe.learning_rate,
        recipe.batch // recipe.accumulate,
        recipe.accumulate,
        recipe.steps["gpu"],
        recipe.warmup,
        recipe.unet.dropout,
    )


@pytest.mark.parametrize(
    ("name", "expected", "ema"),
    [
        # Learning rate, images a part, parts, steps, warm-up, dropout; decay of the average.
        ("ddpm-cifar10", (2e-4, 128, 1, 800_000, 5000, 0.1), 0.9999),  # Ho et al. 2020 app. B
        ("ihdm-mnist", (2e-4, 128, 1, 1_300_000, 5000, 0.1), 0.999),  # its code
        ("ihdm-cifar10", (2e-4, 128, 1, 1_300_000, 5000, 0.1), 0.999),  # its code
        ("ihdm-lsun-church128", (2e-5, 32, 1, 1_300_000, 5000, 0.1), 0.999),  # its code
        ("ihdm-afhq256", (2e-5, 32, 1, 1_300_000, 5000, 0.3), 0.9999),  # its code, FFHQ-256
        ("hs-cifar10", (2e-4, 128, 1, 2_000_000, 5000, 0.2), 0.9999),  # HS sec. 6.1, app. A.2, Table 5
        ("hs-church64", (1e-4, 256, 1, 2_000_000, 5000, 0.2), 0.9999),  # HS app. A.2, Table 5
        ("hs-church128", (1e-4, 256, 1, 2_000_000, 5000, 0.1), 0.9999),  # HS app. A.2, Table 5
        ("lee-bedroom64", (5e-5, 16, 1, 450_000, 0, 0.0), 0.9999),  # Lee app. B, G
        ("lee-lsun64", (5e-5, 16, 1, 450_000, 0, 0.0), 0.9999),  # Lee app. B, G
        ("lee-church64", (5e-5, 16, 1, 600_000, 0, 0.0), 0.9999),  # Lee app. B, G
        ("bansal-mnist-deblur", (2e-5, 32, 2, 700_000, 0, 0.0), 0.9995),  # Bansal app. A.1
        ("bansal-celeba-inpaint", (2e-5, 64, 2, 60_000, 0, 0.0), 0.9995),  # Bansal app. A.2
        ("bansal-cifar10-superres", (2e-5, 32, 2, 700_000, 0, 0.0), 0.9995),  # Bansal app. A.3
        ("bansal-celeba-recolour", (2e-5, 32, 2, 700_000, 0, 0.0), 0.9995),  # Bansal app. A.4
        ("bansal-cifar10-desnow", (2e-5, 32, 2, 700_000, 0, 0.0), 0.9995),  # Bansal app. A.5
    ],
)
def test_training_as_in_the_source(name, expected, ema):
    recipe = PAPERS[name]
    assert fields(recipe) == expected
    assert recipe.ema == pytest.approx(ema, abs=2e-6)


def test_average_forgets_as_fast_as_the_authors():
    """0.995 every 10 steps (Bansal app. A): what 1000 steps leave of the beginning."""
    assert math.isclose(papers.BANSAL_EMA**1000, 0.995**100)


@pytest.mark.parametrize(
    ("name", "predicts", "loss", "rule", "settings"),
    [
        ("ddpm-cifar10", "eps", "plain", "ancestral", {"steps": 1000}),  # Ho et al. 2020
        ("ihdm-mnist", "less_blurred", "plain", "ihdm", {"sigma_max": 20, "sigma_min": 0.5, "steps": 100}),
        ("ihdm-cifar10", "less_blurred", "plain", "ihdm", {"sigma_max": 24, "sigma_min": 0.5, "steps": 200}),
        ("ihdm-lsun-church128", "less_blurred", "plain", "ihdm", {"sigma_max": 64, "steps": 400}),
        ("ihdm-afhq256", "less_blurred", "plain", "ihdm", {"sigma_max": 128, "steps": 200, "noise": 0.02}),
        # HS sec. 4 (d_min), app. A.1 (log SNR), Tables 1, 7, 2 (sigma_B,max)
        ("hs-cifar10", "eps", "plain", "ancestral", {"sigma_max": 20, "d_min": 0.001, "blur": "sin2"}),
        ("hs-church64", "eps", "plain", "ancestral", {"sigma_max": 20, "logsnr_min": -10, "logsnr_max": 10}),
        ("hs-church128", "eps", "plain", "ancestral", {"sigma_max": 20, "d_min": 0.001}),
        # Lee app. B, Table 1
        ("lee-lsun64", "eps", "plain", "ancestral", {"f_max": 0.14, "f_type": "quartic", "kernel_sigma": 0.4}),
        ("lee-church64", "eps", "plain", "ancestral", {"steps": 1000, "boundary": "zero"}),
        # Bansal sec. 3.1 (L1 on the image), app. A
        ("bansal-mnist-deblur", "x0", "l1", "tacos", {"steps": 40, "std": 7.0, "boundary": "circular"}),
        ("bansal-mnist-inpaint", "x0", "l1", "tacos", {"where": "random"}),
        ("bansal-mnist-superres", "x0", "l1", "tacos", {"steps": 3}),
        ("bansal-celeba-superres", "x0", "l1", "tacos", {"steps": 6}),
        ("bansal-cifar10-recolour", "x0", "l1", "tacos", {"steps": 50}),
        ("bansal-afhq-generate", "x0", "l1", "tacos", {"steps": 300, "width": 27, "to_mean": True}),
        ("soft-celeba64", "residual", "soft", "momentum", {}),  # Daras et al. 2022
    ],
)
def test_process_as_in_the_source(name, predicts, loss, rule, settings):
    recipe = PAPERS[name]
    assert (recipe.predicts, recipe.loss, recipe.rule) == (predicts, loss, rule)
    assert settings.items() <= dict(recipe.settings).items()


@pytest.mark.parametrize(
    ("name", "widths", "resolutions", "heads", "blocks", "updown"),
    [
        ("ddpm-cifar10", (128, 256, 256, 256), {16}, {1}, 2, False),  # Ho et al. 2020 app. B
        ("ihdm-mnist", (128, 256, 256), {7}, {1}, 4, False),  # its code
        ("ihdm-cifar10", (128, 256, 256, 256), {8, 4}, {1}, 4, False),  # its code; HS sec. 6.1
        ("ihdm-lsun-church128", (128, 256, 384, 512, 640), {32, 16, 8}, {1}, 2, False),  # its code; HS sec. 6.1
        ("ihdm-afhq256", (128, 256, 384, 512, 640), {64, 32, 16}, {1}, 3, False),  # its code, FFHQ-256
        ("hs-cifar10", (256, 256, 256), {8, 16}, {1}, 3, True),  # HS Table 5
        ("hs-church64", (128, 256, 384, 512), {8, 16, 32}, {4, 6, 8}, 3, True),  # HS Table 5: heads of 64
        ("hs-church128", (64, 128, 256, 384, 512), {8, 16, 32}, {4, 6, 8}, 3, True),  # HS sec. 6.1, Table 5
        ("lee-lsun64", (128, 256, 384, 512), {16, 8}, {4}, 3, False),  # Lee app. G
    ],
)
def test_network_as_in_the_source(name, widths, resolutions, heads, blocks, updown):
    unet = PAPERS[name].unet
    assert unet.widths == widths
    assert {unet.size // factor for factor in unet.attention} == resolutions
    assert {unet.heads_of(unet.widths[unet.factors.index(factor)]) for factor in unet.attention} == heads
    assert (unet.blocks, unet.resblock_updown) == (blocks, updown)
    assert unet.in_channels == unet.out_channels == (1 if "mnist" in name else 3)


def test_all_degradations_of_the_presets_are_trained():
    """But for those of the released code where it differs."""
    trained = [(r.process, dict(r.settings)) for r in PAPERS.values() if r.is_cold]
    for name, preset in cold.PRESETS.items():
        assert name.endswith("-code") or (preset.factory, dict(preset.settings)) in trained, name


def test_data_and_sizes_agree():
    sizes = {"mnist": {28, 32}, "cifar10": {32}, "celeba": {64, 128}, "afhq": {128, 256}}
    for name, recipe in PAPERS.items():
        assert recipe.data in {*sizes, "lsun-bedroom", "lsun-church"}
        assert recipe.size in sizes.get(recipe.data, {64, 128})
        assert recipe.data.removeprefix("lsun-") in name or name == "lee-lsun64"
        assert not (recipe.flip and recipe.data == "mnist"), "a mirrored digit is none"


def test_notes():
    for name in PAPERS:
        assert papers.notes(name)
        assert all(isinstance(note, str) and len(note) > 20 for note in papers.notes(name))
    assert {name.partition("-")[0] for name in PAPERS} == papers.NOTES.keys()
    with pytest.raises(ValueError, match="unknown paper's recipe 'lee-lsun32': did you mean 'lee-lsun64'"):
        papers.notes("lee-lsun32")
