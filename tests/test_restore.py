"""Pictures of any size are restored as the recipe's own are, and what cannot be is refused with a clear word."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from bdbook import cold, data, recipes, samplers, training
from bdbook.cli import main
from bdbook.denoiser import X0, Denoiser
from bdbook.evaluation import tiling
from bdbook.training import checkpoints, records, runs
from bdbook.unet import UNet, UNetConfig


def run_of(name, path):
    """A run whose network is as good as untrained."""
    recipe = recipes.get(name)
    images = data.load(recipe.data, recipe.size, recipe.channels, 40)
    state = training.start(recipe, images)
    checkpoints.save_weights(path, state, records.new(recipe, 0, images, recipe.data, "smoke"))
    return runs.load(path)


@pytest.fixture(scope="module")
def sharpen(tmp_path_factory):
    return run_of("photos-sharpen", tmp_path_factory.mktemp("runs") / "weights.safetensors")


@pytest.mark.parametrize(("height", "width"), [(40, 40), (45, 67), (60, 230)])
def test_an_untrained_network_gives_back_what_it_saw(sharpen, height, width):
    """Its residual is zero: direct is the input, TACoS too up to what one D adds; and no tile is lost or doubled."""
    random = torch.Generator().manual_seed(0)
    picture = torch.rand(3, height, width, generator=random) * 2 - 1
    done = tiling.restore(sharpen, picture, steps=2, degrade=True)
    assert all(x.shape == picture.shape for x in done.ways.values())
    blurred = cold.blur((height, width), 20, std=0.5, growth="constant").mean(picture[None], 1.0)[0]
    torch.testing.assert_close(done.ways["degraded"], blurred, atol=1e-5, rtol=0)
    torch.testing.assert_close(done.ways["direct"], blurred, atol=1e-5, rtol=0)
    torch.testing.assert_close(done.ways["truth"], picture, atol=1e-6, rtol=0)


def test_tiles_agree_with_the_whole_where_they_are_large_enough():
    torch.manual_seed(0)
    net = UNet(UNetConfig(size=32, channels=8, multipliers=(1, 2), attention=())).eval()
    for parameter in net.last.parameters():
        torch.nn.init.normal_(parameter, std=0.1)

    def local(x, t):  # without its norms, which look at the whole picture, a network sees a few pixels far
        return torch.nn.functional.conv2d(x, torch.ones(1, 1, 5, 5) / 25, padding=2)

    x = torch.rand(1, 1, 100, 90)
    ask, how = tiling.tiled(local, tile=(48, 48), overlap=16, factor=4)
    t = torch.ones(1)
    inner = (..., slice(3, -3), slice(3, -3))
    # Blending gives weight to a tile's own border, whose pixels see zeros: small near it, nothing a few pixels in.
    difference = (ask(x, t) - local(x, t))[inner].abs()
    assert difference.max() < 0.2
    assert difference.median() < 1e-6
    assert "48" in how
    assert "16" in how
    with torch.no_grad():
        torch.testing.assert_close(tiling.tiled(net, (128, 128), 16, 2)[0](x, t), net(x, t))


@pytest.mark.parametrize("side", [48, 49, 79, 80, 81, 200])
def test_tiles_cover_every_pixel_once_in_the_sum(side):
    ones = tiling.tiled(lambda x, t: torch.ones_like(x), tile=(48, 48), overlap=16, factor=4)[0]
    assert torch.allclose(ones(torch.zeros(1, 1, side, side), torch.ones(1)), torch.ones(1))
    spans = tiling._spans(side, 48, 16, 4)
    assert spans[0].start == 0
    assert spans[-1].stop == side
    assert all(after.start <= before.stop - 12 for before, after in pairwise(spans))
    assert max(span.stop - span.start for span in spans) <= 48


def test_colour_is_restored_channel_by_channel_and_grey_by_three(tmp_path, sharpen):
    grey = torch.rand(1, 40, 40)
    assert tiling.restore(sharpen, grey, degrade=True, steps=2).ways["tacos"].shape == (1, 40, 40)
    colour = run_of("photos-recolour", tmp_path / "weights.safetensors")
    done = tiling.restore(colour, torch.rand(3, 50, 41) * 2 - 1, degrade=True)
    assert done.ways["tacos"].shape == (3, 50, 41)
    assert done.ways["degraded"].std(0).max() < 1e-5, "all colour is gone"


def test_blocks_of_pixels_are_made_to_fit(tmp_path):
    run = run_of("digits-superres", tmp_path / "weights.safetensors")
    done = tiling.restore(run, torch.rand(1, 37, 50) * 2 - 1, degrade=True)
    assert done.ways["degraded"].shape == (1, 37, 50)
    assert done.ways["degraded"][0, :8, :8].std() < 1e-5


def test_snow_is_resized_and_says_so(tmp_path):
    run = run_of("photos-desnow", tmp_path / "weights.safetensors")
    done = tiling.restore(run, torch.rand(1, 90, 60) * 2 - 1, degrade=True)
    assert done.ways["tacos"].shape == (1, 16, 16)
    assert "resized to 16x16" in done.how
    with pytest.raises(ValueError, match=r"needs to know what was drawn.*--degrade"):
        tiling.restore(run, torch.rand(1, 90, 60) * 2 - 1)


@pytest.mark.parametrize(
    ("height", "width", "settings", "message"),
    [
        (12, 40, {}, r"40x12 pixels; expected sides of at least 16 and at most 100 million pixels"),
        (4000, 30_000, {}, r"30000x4000 pixels; expected sides of at least 16 and at most 100 million pixels"),
        (40, 40, {"severity": 0.0}, r"severity was 0; expected a number in \(0, 1\], a multiple of 1/20"),
        (40, 40, {"severity": 0.33}, r"severity was 0.33; .*multiple of 1/20"),
        (40, 40, {"severity": 1.5}, r"severity was 1.5"),
    ],
)
def test_what_cannot_be_restored_is_refused(sharpen, height, width, settings, message):
    with pytest.raises(ValueError, match=message):
        tiling.restore(sharpen, torch.zeros(1, 1, 1).expand(3, height, width), **settings)


def test_hot_and_generating_runs_are_refused(tmp_path):
    for name, message in (("digits-ddpm", "generates pictures from noise"), ("digits-from-mean", "single colour")):
        run = run_of(name, tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=message):
            tiling.restore(run, torch.zeros(1, 40, 40), degrade=True)


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "weights.safetensors"
    run_of("photos-sharpen", path)
    return path


def picture(path, mode="RGB", size=(50, 40)):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def test_the_command_writes_both_restorations_and_a_comparison(tmp_path, stored, capsys):
    file = picture(tmp_path / "a.png")
    assert main(["restore", "--image", str(file), "--run", str(stored), "--degrade", "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "a.png: 50x40, restored in its own size" in said
    assert "PSNR" in said
    folder = tmp_path / "restored"
    assert sorted(f.name for f in folder.iterdir()) == [
        "a-compared.png",
        "a-direct.png",
        "a-tacos.png",
        "restored.json",
    ]
    assert Image.open(folder / "a-tacos.png").size == (50, 40)
    assert Image.open(folder / "a-compared.png").size == (4 * 50 + 3 * 6, 40)


def test_the_command_takes_a_folder_and_a_severity(tmp_path, stored):
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "a.png", "L")
    picture(folder / "b.webp", "RGB")
    command = [
        "restore",
        "--image",
        str(folder),
        "--run",
        str(stored),
        "--severity",
        "0.5",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*command, "--profile", "smoke"]) == 0
    names = {f"{each}-{way}" for each in "ab" for way in ("compared", "direct", "tacos")}
    assert {file.stem for file in (tmp_path / "o").glob("*-*")} == names
    assert {file.suffix for file in (tmp_path / "o").glob("b-*")} == {".webp"}
    assert Image.open(tmp_path / "o" / "a-compared.png").size == (3 * 50 + 2 * 6, 40)


def test_the_command_refuses_with_a_clear_word(tmp_path, stored, capsys):
    good, bad = picture(tmp_path / "a.png"), tmp_path / "no.png"
    bad.write_text("this is no picture")
    for extra, message in (
        (["--image", str(bad)], "no.png cannot be read as an image"),
        (["--image", str(tmp_path / "missing.png")], "does not exist; expected a picture or a folder"),
        (["--image", str(good), "--degradation", "snow"], "the weights were trained for blur .*, not for snow"),
        (["--image", str(good), "--degradation", "blurr"], "unknown degradation 'blurr': did you mean 'blur'"),
        (["--image", str(picture(tmp_path / "s.png", size=(9, 9)))], "9x9 pixels; expected sides of at least 16"),
        (["--image", str(good), "--steps", "0"], "steps was 0; expected at least 1"),
    ):
        assert main(["restore", "--run", str(stored), "--profile", "smoke", *extra]) == 2
        said = capsys.readouterr().err
        assert re.search(message, said), said
    assert not (tmp_path / "restored").exists()


def test_the_command_evaluates_restorers(stored, capsys):
    assert main(["evaluate", "--run", str(stored), "--count", "20", "--steps", "2", "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "rounded to uint8" in said
    assert "tacos" in said


def test_a_perfect_restorer_on_tiles_is_perfect_by_tacos():
    """The degradation is the whole picture's, though the network sees tiles."""
    x = torch.rand(1, 1, 100, 100).double() * 2 - 1
    process = cold.blur(100, 20, std=0.5, growth="constant")
    ask, _ = tiling.tiled(lambda piece, t: piece, (48, 48), 16, 4)  # what the tile shows is what it answers

    def net(x_t, t):
        return ask(x, t)

    walk = samplers.sample(Denoiser(net, process, X0), process.mean(x, 1.0), process.times(), samplers.tacos)
    assert (samplers.last(walk).x - x).abs().max() < 1e-10


# --- tiles, borders and severities --------------------------------------------------------------------------------


def blended(height, width, spans, overlap):
    """What tiles that answer 1, 2, 3, ... become, pixel by pixel: weights rise linearly from each tile's borders."""
    rows, cols = spans
    total, weight = np.zeros((2, height, width))
    for answer, (row, col) in enumerate(((r, c) for r in rows for c in cols), 1):
        for y in range(row.start, row.stop):
            for x in range(col.start, col.stop):
                down = min(y - row.start + 1, row.stop - y, overlap)
                across = min(x - col.start + 1, col.stop - x, overlap)
                total[y, x] += down * across * answer
                weight[y, x] += down * across
    return total / weight


def test_answers_of_two_tiles_are_blended_linearly_where_they_overlap():
    asked = []

    def numbered(x, t):
        asked.append(x.shape)
        return torch.full_like(x, len(asked))

    ask, _ = tiling.tiled(numbered, tile=(48, 48), overlap=16, factor=4)
    row = ask(torch.zeros(1, 1, 48, 80), torch.ones(1))[0, 0, 20]
    expected = np.concatenate([np.ones(32), 1 + np.arange(1, 17) / 17, np.full(32, 2.0)])
    np.testing.assert_allclose(row, expected, rtol=1e-6)
    asked.clear()
    found = ask(torch.zeros(1, 1, 88, 100), torch.ones(1))[0, 0]
    assert len(asked) == 9
    spans = [tiling._spans(side, 48, 16, 4) for side in (88, 100)]
    np.testing.assert_allclose(found, blended(88, 100, spans, 16), rtol=1e-6)


def test_tiles_are_asked_at_the_time_of_the_whole():
    ask, _ = tiling.tiled(lambda x, t: t.reshape(-1, 1, 1, 1).expand_as(x), (48, 48), 16, 4)
    t = torch.tensor([0.25, 0.75])
    torch.testing.assert_close(ask(torch.zeros(2, 1, 60, 90), t), t.reshape(2, 1, 1, 1).expand(2, 1, 60, 90))


def test_margins_go_on_as_the_picture_does():
    """Sides that do not halve are made longer: a network that averages neighbours must see no dark border."""

    def average(x, t):
        return torch.nn.functional.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)

    ask, _ = tiling.tiled(average, (48, 48), 16, 8)
    x = torch.linspace(-1, 1, 61).reshape(1, 1, 1, 61).expand(1, 1, 37, 61)
    mirrored = np.pad(x[0, 0].numpy(), ((0, 3), (0, 3)), mode="reflect")
    expected = average(torch.from_numpy(mirrored)[None, None], None)[0, 0, :37, :61]
    torch.testing.assert_close(ask(x, torch.ones(1))[0, 0, -5:, -5:], expected[-5:, -5:])


def test_blocks_at_the_border_are_as_bright_as_the_picture(tmp_path):
    run = run_of("digits-superres", tmp_path / "weights.safetensors")
    done = tiling.restore(run, torch.full((1, 37, 50), 0.6), degrade=True)
    torch.testing.assert_close(done.ways["degraded"], torch.full((1, 37, 50), 0.6))
    assert "tiles of up to 16 pixels that overlap by 4" in done.how, "attention has seen no larger ones"


def test_a_picture_is_degraded_to_the_severity_and_walks_back_from_there(sharpen):
    """The untrained network answers x0_hat = x, so that each step of TACoS is x - D(x, t) + D(x, s)."""
    picture = torch.rand(1, 40, 44, generator=torch.Generator().manual_seed(0)) * 2 - 1
    done = tiling.restore(sharpen, picture, severity=0.5, steps=2, degrade=True)
    process = cold.blur((40, 44), 20, std=0.5, growth="constant")
    half = process.mean(picture[None].double(), 0.5)
    torch.testing.assert_close(done.ways["degraded"], half[0].float(), atol=1e-5, rtol=0)
    quarter = half - process.mean(half, 0.5) + process.mean(half, 0.25)
    end = quarter - process.mean(quarter, 0.25) + quarter
    torch.testing.assert_close(done.ways["tacos"], end[0].float(), atol=1e-5, rtol=0)
    assert (end - half).abs().max() > 0.1


def test_the_comparison_runs_from_the_truth_to_the_restored():
    ways = {name: torch.full((1, 2, 2), value) for value, name in enumerate(("tacos", "direct", "degraded", "truth"))}
    assert [x[0, 0, 0] for x in tiling.side_by_side(tiling.Restored(ways, ""))] == [3, 2, 1, 0]
    del ways["truth"]
    assert [x[0, 0, 0] for x in tiling.side_by_side(tiling.Restored(ways, ""))] == [2, 1, 0]
