"""What prose and ledgers say of the recorded cold runs is what the runs recorded."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bdbook import data
from bdbook.evaluation import metrics
from bdbook.page import recorded as recorded_runs

ROOT = Path(__file__).resolve().parents[1]
NOTES = {c["id"]: c["note"] for c in yaml.safe_load((ROOT / "book" / "claims.yml").read_text(encoding="utf-8"))}
DEBLUR = [f"{source}-deblur-cpu{seed}" for source in ("digits", "photos") for seed in ("", "-seed1", "-seed2")]


def recorded(name: str, part: str = "restoration") -> dict:
    return json.loads((ROOT / "results" / name / "metrics.json").read_text())[part]


def frechet(name: str, way: str, part: str = "generation") -> float:
    return recorded(name, part)[way]["frechet"]


def prose(chapter: str) -> str:
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("name", DEBLUR)
def test_deblurring_shows_the_papers_pattern(name):
    tacos, direct = recorded(name)["tacos"], recorded(name)["direct"]
    assert tacos["frechet"] < direct["frechet"]
    assert tacos["detail"] > direct["detail"]
    assert tacos["rmse"] > direct["rmse"]
    assert tacos["ssim"] < direct["ssim"]


@pytest.mark.parametrize("name", ["photos-inpaint-cpu", "photos-desnow-cpu"])
def test_inpainting_and_snow_are_better_by_every_measure(name):
    tacos, direct = recorded(name)["tacos"], recorded(name)["direct"]
    assert tacos["frechet"] < direct["frechet"]
    assert tacos["rmse"] < direct["rmse"]
    assert tacos["psnr"] > direct["psnr"]
    assert tacos["ssim"] > direct["ssim"]
    assert abs(tacos["detail"] - 1) < abs(direct["detail"] - 1)


@pytest.mark.parametrize("name", [*DEBLUR, "photos-inpaint-cpu", "photos-superres-cpu", "photos-recolour-cpu"])
def test_algorithm_1_has_the_largest_rmse_and_one_restoration_less_detail_than_tacos(name):
    rows = recorded(name)
    assert max(("direct", "naive", "tacos"), key=lambda way: rows[way]["rmse"]) == "naive"
    assert rows["direct"]["detail"] < rows["tacos"]["detail"]


@pytest.mark.parametrize("name", [name for name in DEBLUR if name.startswith("photos")])
def test_one_restoration_of_photographs_has_two_or_three_per_cent_of_the_detail(name):
    assert round(100 * recorded(name)["direct"]["detail"]) in (2, 3)
    assert "two or three per cent of the fine detail" in NOTES["bansal-blurry"]


@pytest.mark.parametrize("name", DEBLUR)
def test_the_order_of_the_three_ways_is_that_of_the_text(name):
    order = sorted(("direct", "naive", "tacos"), key=lambda way: frechet(name, way, "restoration"))
    assert order == (["tacos", "direct", "naive"] if name.startswith("digits") else ["tacos", "naive", "direct"])


def test_what_cannot_be_told_is_told_in_per_cents():
    text = prose("08_cold_diffusion")
    superres, recolour = (
        frechet(name, "tacos", "restoration") / frechet(name, "direct", "restoration") - 1
        for name in ("photos-superres-cpu", "photos-recolour-cpu")
    )
    assert round(-100 * superres) == 1
    assert "TACoS closer by one per cent" in text
    assert round(100 * recolour) == 8
    assert "one restoration closer by eight" in text


@pytest.mark.parametrize(
    ("claim", "values"),
    [
        (
            "bansal-any-degradation",
            {
                "14": frechet("digits-fixed-noise-cpu", "estimated noise"),
                "37": frechet("digits-from-colour-cpu", "tacos"),
                "115": frechet("digits-from-leaves-cpu", "tacos"),
                "233": frechet("digits-from-mean-cpu", "tacos"),
            },
        ),
        (
            "bansal-estimated-better",
            {
                "14": frechet("digits-fixed-noise-cpu", "estimated noise"),
                "78": frechet("digits-fixed-noise-cpu", "tacos"),
            },
        ),
        (
            "bansal-symmetry",
            {
                "531": frechet("digits-from-mean-cpu", "perfect symmetry"),
                "233": frechet("digits-from-mean-cpu", "tacos"),
            },
        ),
        (
            "bansal-inpainting",
            {
                "0.63": frechet("photos-inpaint-cpu", "tacos", "restoration"),
                "1.04": frechet("photos-inpaint-cpu", "direct", "restoration"),
            },
        ),
        (
            "bansal-super",
            {
                "18.7": frechet("photos-superres-cpu", "tacos", "restoration"),
                "19.0": frechet("photos-superres-cpu", "direct", "restoration"),
            },
        ),
        (
            "bansal-diversity",
            {"7": 100 * recorded("digits-from-mean-cpu", "generation")["perfect symmetry"]["variance"]},
        ),
    ],
)
def test_numbers_in_the_ledger_are_the_recorded_ones(claim, values):
    for written, value in values.items():
        decimals = len(written.partition(".")[2])
        assert f"{value:.{decimals}f}" == written
        assert re.search(rf"(?<![\d.]){re.escape(written)}(?![\d.]*\d)", NOTES[claim]), f"{written} is not in the note"


def test_generation_comes_out_as_chapter_10_says():
    mean, noise, leaves, colour = (
        {way: m["frechet"] for way, m in recorded(f"digits-{name}-cpu", "generation").items()}
        for name in ("from-mean", "fixed-noise", "from-leaves", "from-colour")
    )
    assert mean["tacos"] < mean["perfect symmetry"] / 2
    assert mean["naive"] < mean["tacos"] < mean["direct"]
    assert noise["estimated noise"] < noise["naive"] < noise["tacos"] < noise["direct"]
    assert leaves["naive"] < leaves["tacos"] < leaves["direct"]
    assert colour["tacos"] < colour["naive"] < colour["direct"]
    assert 0.4 < recorded("digits-fixed-noise-cpu", "generation")["tacos"]["variance"] < 0.6, "half of the variance"


# --- how chapters read them ----------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path):
    """Two seeds of one run."""
    for seed, distance in ((0, 4.0), (2, 7.0)):
        folder = tmp_path / f"a-cpu{'-seed2' if seed else ''}"
        folder.mkdir()
        record = {"identity": {"seed": seed}, "wall_s": 9.6, "device": "CPU, threads: 1", "date": "2026-01-01"}
        (folder / "metrics.json").write_text(json.dumps({"step": 30, "distance": distance}))
        (folder / "record.json").write_text(json.dumps(record | ({"commit": "abc"} if seed else {})))
        (folder / "log.jsonl").write_text('{"step": 10, "loss": 0.5}\n{"step": 30, "loss": 0.25}\n')
    return tmp_path


def test_a_recorded_run_is_read_whole(shelf):
    run = recorded_runs.read("a", seed=2, results=shelf)
    assert run.metrics["distance"] == 7.0
    assert run.losses() == ([10, 30], [0.5, 0.25])
    assert str(run) == "a-cpu-seed2: seed 2, 30 steps in 10 s, CPU, threads: 1, 2026-01-01, commit abc"
    assert str(recorded_runs.read("a", results=shelf)).endswith("commit unknown")


def test_seeds_that_there_are(shelf):
    found = recorded_runs.seeds("a", results=shelf)
    assert [run.metrics["distance"] for run in found] == [4.0, 7.0]
    mean, half, each = recorded_runs.over_seeds(found, lambda m: m["distance"])
    assert (mean, half, each) == (5.5, 1.5, [4.0, 7.0])


def test_a_run_that_is_not_recorded_says_how_to_record_it(shelf):
    with pytest.raises(ValueError, match=r"recorded are a-cpu, a-cpu-seed2\. .*--profile gpu --only b@1"):
        recorded_runs.read("b", "gpu", 1, shelf)
    with pytest.raises(ValueError, match="is not recorded"):
        recorded_runs.seeds("b", results=shelf)


def test_every_run_that_the_chapters_name_is_recorded():
    seen = set()
    for chapter in ("13_training", "14_head_to_head", "15_ablations"):
        cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        for name in re.findall(r'recorded\.(?:read|seeds)\("([\w.-]+)"\)', source):
            assert recorded_runs.read(name).record["recipe"]["name"] == name
            seen.add(name)
    assert {"digits-blurring", "digits-cosine"} <= seen


# --- chapters 14 and 15 --------------------------------------------------------------------------------------


def measured(name: str, what: str = "frechet") -> float:
    """Of the samples of the first seed, digits."""
    return recorded_runs.read(f"digits-{name}").metrics["quality"]["samples"][what]


def bits(name: str) -> float:
    return recorded_runs.read(f"digits-{name}").metrics["bits"]["mean"]


SIX = ("ddpm", "heat", "blurring", "blur", "soft", "from-mean")


def each(name: str) -> list[float]:
    """Frechet distance of every training, digits."""
    runs = recorded_runs.seeds(f"digits-{name}")
    assert len(runs) == 3
    return [run.metrics["quality"]["samples"]["frechet"] for run in runs]


def within(name: str, low: float, high: float) -> bool:
    """Whether that is the range the chapter prints, to its digits."""
    return (round(min(each(name)), 1), round(max(each(name)), 1)) == (low, high)


def test_the_six_systems():
    """What chapter 14 says of them, over three trainings each."""
    for name in SIX:
        for end in ("", "-plain"):
            for run in recorded_runs.seeds(f"digits-{name}{end}"):
                assert "1024 samples" in run.metrics["sample_protocol"]
    assert within("blurring", 11.2, 12.8)
    assert within("blurring-plain", 13.1, 14.1)
    assert within("ddpm", 12.4, 14.4)
    assert within("ddpm-plain", 14.2, 16.6)
    assert within("heat", 16.5, 23.9)
    others = [number for name in SIX if name != "blurring" for number in each(f"{name}-plain")]
    assert max(each("blurring-plain")) < min(others), "the first line of HS Table 1"
    leads = [ddpm - own for ddpm, own in zip(each("ddpm-plain"), each("blurring-plain"), strict=True)]
    assert 1 < min(leads) <= max(leads) < 3
    for end in ("", "-plain"):
        assert min(each(f"from-mean{end}")) > 7 * max(each(f"heat{end}"))
        assert abs(np.mean(each(f"blur{end}")) - np.mean(each(f"ddpm{end}"))) < 1
        assert np.mean(each(f"blurring{end}")) < np.mean(each(f"ddpm{end}")) - 1
    gains = [
        plain - own
        for name in ("ddpm", "blurring", "blur")
        for own, plain in zip(each(name), each(f"{name}-plain"), strict=True)
    ]
    assert round(min(gains), 1) == 0.3
    assert round(max(gains), 1) == 4.0
    for behind in ("heat-plain", "soft-plain"):
        assert 23 <= min(each(behind)) <= max(each(behind)) < 29
    assert max(each("soft")) < 16
    assert max(each("heat")) < min(each("heat-plain"))
    for name in ("ddpm", "blurring", "blur"):
        assert bits(f"{name}-plain") < bits(name) - 0.2
    assert bits("soft") < bits("soft-plain")
    assert abs(bits("blurring-plain") - bits("cosine-plain")) < 0.05
    for name in ("from-mean", "from-mean-plain", "heat-plain"):
        assert recorded_runs.read(f"digits-{name}").metrics["bits"] is None


def test_the_highest_band_shows_the_noise_that_is_left():
    """As the squares of 0.0067, 0.01 and 0.02 of the processes, 0.025 of IHDM's sampler."""
    top = {name: measured(name, "bands")[4] for name in ("blurring", "soft", "heat", "heat-plain")}
    assert top["soft"] / top["blurring"] == pytest.approx((0.01 / 0.00672) ** 2, rel=0.2)
    assert top["heat"] / top["blurring"] == pytest.approx((0.02 / 0.00672) ** 2, rel=0.2)
    assert top["heat-plain"] / top["heat"] == pytest.approx((0.025 / 0.02) ** 2, rel=0.2)
    assert measured("soft-plain", "bands")[4] > 1000


def test_second_order_needs_few_steps():
    """At 359 samples, whose scatter is a quarter of the distance: what is said holds beyond that."""
    walks = recorded_runs.read("digits-blurring").metrics["walks"]

    def distance(way: str, steps: int, what: str = "frechet") -> float:
        return walks[f"{way}, {steps} steps"][what]

    limit = distance("ancestral, order 1", 1000)
    for steps in (5, 10, 15, 20, 30, 50, 100):
        assert distance("ddim, order 2", steps) < 1.05 * limit
    for steps in (5, 10, 15, 20, 30):
        assert distance("ancestral, order 1", steps) > 1.5 * limit
    for steps in (5, 10):
        assert distance("ddim, order 1", steps) > 1.9 * limit
    assert distance("ddim, order 2", 5, "sliced_wasserstein") > 1.1 * distance(
        "ddim, order 2", 10, "sliced_wasserstein"
    )


def test_more_blur():
    """HS Tables 3 and 4, scaled down: the direction of the first, and the second where blur is strong."""
    for end in ("", "-plain"):
        widths = [measured(name + end) for name in ("cosine", "blurring-0.5px", "blurring", "blurring-10px")]
        assert min(widths) == widths[2]
        assert widths[0] - widths[2] < 3
    assert measured("blurring-sin-10px") > 1.4 * measured("blurring-10px")
    assert round(np.mean(each("cosine")) - np.mean(each("blurring")), 1) == 1.9
    assert round(np.mean(each("cosine-plain")) - np.mean(each("blurring-plain")), 1) == 1.1
    assert within("cosine-plain", 10.3, 17.9)


def test_more_blur_converges_later():
    """HS sec. 6.2, after a sixth of the training; beyond two thirds nothing can be told."""
    first = {}
    for name in ("cosine", "blurring-0.5px", "blurring", "blurring-10px"):
        for end in ("", "-plain"):
            first[name + end] = recorded_runs.read(f"digits-{name}{end}").metrics["on_the_way"]["250"]["frechet"]
    assert first["blurring-10px-plain"] > first["blurring-plain"] > 9.9 * first["cosine-plain"]
    for name in ("blurring", "blurring-10px"):
        assert first[name] < 1.5 * first["cosine"]


def test_what_to_predict():
    """HS sec. 2.1, 3, 4 and app. B, scaled down."""
    for base in ("cosine", "blurring"):
        assert abs(measured(f"{base}-x0") - measured(f"{base}-plain")) < 1
        assert bits(f"{base}-x0") > 10 * bits(f"{base}-plain")
        assert measured(f"{base}-step-mean") > 1.2 * measured(f"{base}-plain")
        top, usual = (measured(name, "bands")[4] for name in (f"{base}-step-mean", f"{base}-plain"))
        assert top > 300
        assert top > 9 * usual
        assert 2 < measured(f"{base}-bound") - measured(f"{base}-plain") < 3.5
        assert bits(f"{base}-bound") > bits(f"{base}-plain")
        assert 1.4 < bits(f"{base}-frequencies") / bits(f"{base}-plain") < 1.5
    assert measured("blurring-frequencies") > 2 * measured("blurring-plain")
    assert measured("cosine-frequencies") < 1.15 * measured("cosine-plain")


def test_the_floor():
    assert abs(measured("blurring-dmin-0.1") - measured("blurring")) < 1.5
    assert abs(bits("blurring-dmin-0.1") - bits("blurring")) < 0.05


def test_lees_orders():
    """Lee Table 1 and Fig. 3, scaled down."""
    assert 1.6 < measured("blur-log") / measured("blur") < 2
    assert max(measured("blur-log", "bands")[2:4]) < 0.8
    assert abs(measured("blur-fine") - measured("blur")) < 2


def test_a_few_hundred_images_are_too_few_to_tell():
    """What `quality.Protocol` and chapter 14 say of 359 and of 1024 training digits, with the chapter's own draws."""
    digits = {split: data.load("digits", 16, split=split) for split in ("train", "test")}
    random = torch.Generator().manual_seed(0)
    found = {}
    for count in (100, 359, 1024):
        orders = [torch.randperm(len(digits["train"]), generator=random)[:count] for _ in range(6)]
        found[count] = [metrics.frechet(digits["train"][order], digits["test"]) for order in orders]
    assert 11 <= min(found[359]) < 12
    assert 23 <= max(found[359]) < 24
    assert max(found[1024]) - min(found[1024]) < 2.1
