"""Series and volumes on the command line: what `bdbook sample` writes of them, and what `bdbook evaluate` says."""

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import bdbook
from bdbook import oracle, processes
from bdbook.cli import main
from bdbook.evaluation import values
from bdbook.training import runs
from bdbook.transforms import DCT, Circle, lengths
from bdbook.unet import UNetConfig

TINY = {"channels": 8, "multipliers": (1, 2), "attention": ()}
SIZES = {"series": (16,), "ring": (Circle(16),), "volumes": (4, 2, 4)}


def law(size):
    return oracle.Gaussian(DCT(size), 0.02 / (0.2 + DCT(size).freq2))


def given(size, count=200, seed=1, channels=1):
    return (
        law(size)
        .sample(count * channels, torch.Generator().manual_seed(seed))
        .float()
        .reshape(count, channels, *lengths(size))
    )


def trained(folder, size, channels=1, **more):
    """A run that has learnt next to nothing: it draws Gaussian data, as it is trained on."""
    process = processes.blurring_diffusion(size, sigma_max=1.5)
    unet = UNetConfig(size=lengths(size), in_channels=channels, out_channels=channels, **TINY)
    quick = {"profile": "smoke", "steps": 2, "batch": 4, "learning_rate": 1e-9, "unbounded": True, "unet": unet}
    return bdbook.fit(process, given(size, channels=channels), folder, **quick | more)


@pytest.fixture(scope="module", params=SIZES)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    size = SIZES[request.param]
    np.save(folder / "trained.npy", given(size).numpy())
    np.save(folder / "others.npy", given(size, 401, seed=2).numpy()[:, 0])  # without an axis of channels
    return trained(folder / "run", size), folder


def command(*words):
    return main([str(word) for word in words])


def test_an_array_is_what_the_run_draws(run, capsys):
    model, folder = run
    for number, name in ((0, "samples.npy"), (1, "samples-2.npy")):
        assert command("sample", "--run", folder / "run", "--count", 70, "--steps", 3, "--seed", number) == 0
        assert capsys.readouterr().out == f"{folder / 'run' / name}\n"
        found = np.load(folder / "run" / name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, model.draw(70, number, steps=3).numpy())
    assert (
        command("sample", "--run", folder / "run", "--count", 2, "--steps", 2, "--out", folder / "run/samples.npy") == 2
    )
    assert "samples.npy exists already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a/", "", "a.txt"])
def test_what_is_no_picture_is_not_written_as_one(run, name, monkeypatch, capsys):
    model, folder = run
    monkeypatch.setattr(runs.Run, "draw", lambda *_: pytest.fail("something was drawn"))
    assert command("sample", "--run", folder / "run", "--out", name) == 2
    told = capsys.readouterr().err
    assert "which are no pictures" in told
    assert "one that ends in .npy" in told
    assert (".wav" in told) == (len(model.recipe.size) == 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_series_with_a_rate_become_a_sound(tmp_path, channels, capsys):
    model = trained(tmp_path / "run", (16,), channels, rate=8000)
    assert command("sample", "--run", tmp_path / "run", "--count", 5, "--steps", 3, "--out", tmp_path / "a.wav") == 0
    rate, sound = wavfile.read(tmp_path / "a.wav")
    assert (rate, sound.dtype, sound.size) == (8000, np.int16, channels * 5 * (16 + 800))
    parts = sound.reshape(5, 816, channels)
    assert not parts[:, 16:].any()
    expected = model.draw(5, 0, steps=3).clamp(-1, 1).numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(parts[:, :16] / 32767, expected, atol=0.51 / 32767)
    trained(tmp_path / "silent", (16,))
    capsys.readouterr()
    assert command("sample", "--run", tmp_path / "silent", "--out", tmp_path / "b.wav") == 2
    assert "nothing says how many samples of this run are a second" in capsys.readouterr().err


def test_a_sound_has_one_or_two_channels(tmp_path, capsys):
    trained(tmp_path / "run", (16,), 3, rate=8000)
    assert command("sample", "--run", tmp_path / "run", "--out", tmp_path / "b.wav") == 2
    assert "draws 3 channels; a sound has one or two, write .npy" in capsys.readouterr().err


def test_evaluate_compares_with_half_of_a_file_and_says_what_the_other_half_has(run, capsys):
    model, folder = run
    asked = ["evaluate", "--run", folder / "run", "--data", folder / "others.npy", "--steps", 20, "--bits"]
    assert command(*asked, "--training", folder / "trained.npy", "--count", 100) == 0
    told = capsys.readouterr().out
    first, *_ = told.splitlines()
    assert first.startswith(f"{model.recipe.name}: ancestral, 20 steps; averaged weights of step 2; against half of")
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines()[2:4]}
    assert list(rows) == ["samples", "floor"]
    assert all(row[5:7] == ["100", "100"] for row in rows.values())
    assert "bits per dimension, at most: " in told
    # Between the halves of the file there is nothing but chance.
    assert abs(float(rows["floor"][2])) < 0.3
    assert all(0.4 < float(ratio) < 2.5 for ratio in rows["floor"][7:])
    # 200 of the 401, spread evenly, one half against the other.
    some = torch.from_numpy(np.load(folder / "others.npy"))[np.linspace(0, 400, 200).round().astype(int)][:, None]
    drawn = model.draw(100, 0, steps=20)
    expected = values.measures(drawn, some[1::2], model.spectrum, model.given)
    for name, place in (("sliced_wasserstein", 0), ("whitened", 1), ("energy", 2), ("nearest", 4)):
        assert float(rows["samples"][place]) == pytest.approx(expected[name], abs=6e-5)


def test_the_measures_are_their_definitions():
    size = (16,)
    spectrum, a, b = law(size), given(size, 50), 1.3 * given(size, 70, seed=3) + 0.1
    found = values.measures(a, b, spectrum, training=torch.cat([b, a[:1]]))
    x, y = (torch.tensor(np.asarray(z.double())) for z in (a, b))
    u, w = (DCT(size).forward(z)[:, 0] for z in (x, y))
    scale = spectrum.variance.sqrt()[0]
    between = [torch.cdist(p / scale, q / scale) for p, q in ((u, w), (u, u), (w, w))]
    energy = 2 * between[0].mean() - between[1].sum() / (50 * 49) - between[2].sum() / (70 * 69)
    assert found["energy"] == pytest.approx(energy.item(), rel=1e-9)
    frequencies = DCT(size).freq2.sqrt().flatten()
    band = (frequencies / frequencies.max() * 5).long().clamp_max(4)
    expected = [(u.var(0)[band == k].sum() / w.var(0)[band == k].sum()).item() for k in range(5)]
    assert found["bands"] == pytest.approx(expected, rel=1e-9)
    distances = torch.cdist(x.flatten(1), torch.cat([y, x[:1]]).flatten(1)).min(1).values / 16**0.5
    assert distances[0] == 0
    assert found["nearest"] == pytest.approx(distances.mean().item(), rel=1e-5)
    shifted = values.measures(a, a + 0.25, spectrum)
    along = torch.randn(16, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = 0.25 * (along / along.norm(dim=0)).sum(0)
    assert shifted["sliced_wasserstein"] == pytest.approx(moved.square().mean().sqrt().item(), rel=1e-5)
    assert (found["count"], found["data"]) == (50, 70)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "of which nothing was held out; say what to compare with: --data FILE.npy"),
        (["--data", "wide.npy"], "expected samples of"),
        (["--data", "others.npy", "--training", "others.npy"], "training was not what"),
        (["--data", "few.npy"], "data were 3; expected at least 4"),
        (["--data", "none.npy"], "there is no none.npy"),
    ],
)
def test_what_cannot_be_compared_is_said(run, more, message, monkeypatch, capsys):
    _, folder = run
    monkeypatch.chdir(folder)
    others = np.load("others.npy")
    np.save("few.npy", others[:3])
    np.save("wide.npy", np.concatenate([others, others], -1))
    assert command("evaluate", "--run", "run", *more) == 2
    assert message in capsys.readouterr().err
