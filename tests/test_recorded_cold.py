"""What chapters 8 to 10 say in words of the recorded cold runs follows from them, in every training."""

import numpy as np
import pytest

from bdbook.page import recorded

WAYS = ("direct", "naive", "tacos")
NAMES = sorted({path.parent.name.split("-cpu")[0] for path in recorded.RESULTS.glob("*-cpu*/restored.png")})
RUNS = [run for name in NAMES for run in recorded.seeds(name)]


# --- restoration: chapters 8 and 9 ---------------------------------------------------------------------------

DEBLUR = ("digits-deblur", "photos-deblur")


def restored(name: str) -> list[dict]:
    return [run.metrics["restoration"] for run in recorded.seeds(name)]


def closer(name: str) -> np.ndarray:
    """The distance of TACoS over that of one restoration, of each training."""
    return np.array([ways["tacos"]["frechet"] / ways["direct"]["frechet"] for ways in restored(name)])


@pytest.mark.parametrize("name", DEBLUR)
def test_deblurring_shows_the_papers_pattern(name):
    for ways in restored(name):
        tacos, direct = ways["tacos"], ways["direct"]
        assert tacos["frechet"] < direct["frechet"]
        assert tacos["detail"] > direct["detail"]
        assert tacos["rmse"] > direct["rmse"]
        assert tacos["ssim"] < direct["ssim"]


@pytest.mark.parametrize("name", ["photos-inpaint", "photos-desnow"])
def test_inpainting_and_snow_are_better_by_every_measure(name):
    for ways in restored(name):
        tacos, direct = ways["tacos"], ways["direct"]
        assert tacos["frechet"] < direct["frechet"]
        assert tacos["rmse"] < direct["rmse"]
        assert tacos["psnr"] > direct["psnr"]
        assert tacos["ssim"] > direct["ssim"]
        assert abs(tacos["detail"] - 1) < abs(direct["detail"] - 1)
    assert max(closer("photos-desnow")) < min(closer("photos-inpaint")) / 2, "by far for snow"


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.folder.name)
def test_algorithm_1_has_the_largest_rmse_and_one_restoration_less_detail_than_tacos(run):
    ways = run.metrics["restoration"]
    assert max(WAYS, key=lambda way: ways[way]["rmse"]) == "naive"
    assert ways["direct"]["detail"] < ways["tacos"]["detail"]


@pytest.mark.parametrize(
    ("name", "order"),
    [("digits-deblur", ["tacos", "direct", "naive"]), ("photos-deblur", ["tacos", "naive", "direct"])],
)
def test_the_order_of_the_three_ways_is_that_of_the_text(name, order):
    for ways in restored(name):
        assert sorted(order, key=lambda way: ways[way]["frechet"]) == order
        if name.startswith("photos"):
            half_as_much_again = pytest.approx(1.5, rel=0.1)
            assert ways["naive"]["rmse"] / ways["direct"]["rmse"] == half_as_much_again


def test_what_cannot_be_told_is_less_than_trainings_differ():
    differ = max(np.ptp(closer(name)) for name in DEBLUR)
    assert np.all(closer("photos-superres") < 1)
    assert np.all(closer("photos-recolour") > 1)
    for name in ("photos-superres", "photos-recolour"):
        assert np.all(abs(closer(name) - 1) < differ)


# --- generation without noise: chapter 10 --------------------------------------------------------------------

FROM_MEAN = ("digits-from-mean", "digits-from-mean-plain")


def generated(*names: str) -> list[dict]:
    return [run.metrics["generation"] for name in names for run in recorded.seeds(name)]


def in_order(ways: dict, *order: str) -> bool:
    distances = [ways[way]["frechet"] for way in order]
    return distances == sorted(distances)


def test_fixed_noise_averages_and_estimated_noise_does_not():
    for ways in generated("digits-fixed-noise"):
        assert in_order(ways, "estimated noise", "naive", "tacos", "direct")
        assert ways["tacos"]["variance"] == pytest.approx(0.5, rel=0.1), "half of the variance"
        assert ways["naive"]["variance"] > 1, "too contrasty"
        nearest = min(ways, key=lambda way: abs(ways[way]["variance"] - 1))
        assert nearest == "estimated noise"


def test_a_broken_symmetry_is_better_by_more_than_half():
    for ways in generated(*FROM_MEAN):
        assert ways["tacos"]["frechet"] < ways["perfect symmetry"]["frechet"] / 2
    (noise,) = generated("digits-fixed-noise")
    blur = min(ways[way]["frechet"] for ways in generated(*FROM_MEAN) for way in ("tacos", "naive"))
    assert noise["estimated noise"]["frechet"] < blur / 2, "noise is far ahead of blur"


def test_which_algorithm_each_start_needs():
    ahead = [in_order(ways, "naive", "tacos") for ways in generated(*FROM_MEAN)]
    assert len(ahead) / 2 < sum(ahead), "ahead, and the chapter says in how many"
    for ways in generated("digits-from-leaves"):
        assert in_order(ways, "naive", "tacos", "direct")
    for ways in generated("digits-from-colour"):
        assert in_order(ways, "tacos", "naive", "direct")
    for ways in generated(*FROM_MEAN):
        assert in_order(ways, "tacos", "direct")
        assert in_order(ways, "naive", "direct")


def test_masks_do_best_and_blocks_all_the_same():
    (masks,), (animals,) = generated("digits-from-colour"), generated("digits-from-leaves")
    assert masks["tacos"]["frechet"] < min(animals[way]["frechet"] for way in WAYS)
    others = generated("digits-from-leaves", "digits-fixed-noise", *FROM_MEAN)
    assert masks["tacos"]["variance"] > max(ways["tacos"]["variance"] for ways in others)
    assert masks["tacos"]["variance"] < 1
    for ways in generated("photos-superres"):
        distances = [ways[way]["frechet"] for way in WAYS]
        assert max(distances) < 1.25 * min(distances)
        assert max(ways, key=lambda way: ways[way]["frechet"]) == "start"
