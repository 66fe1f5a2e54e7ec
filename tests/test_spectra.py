"""Your own data: what is read is what lies there, what is measured is right, the advice follows from the numbers."""

import contextlib
import itertools
import json
import math
import wave

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from bdbook import cli, oracle, processes, samplers, spectra
from bdbook.page import recorded
from bdbook.spectra import advice, measure, sources
from bdbook.transforms import DCT, Circle


def power_law(size, count, slope=2.0, seed=0, channels=1):
    """Gaussian data whose power is 1 / (0.05 + f)^slope, f in cycles per sample: (count, channels, *axes)."""
    basis = DCT(size)
    variance = (0.05 + basis.freq2.sqrt() / (2 * math.pi)) ** -slope
    data = oracle.Gaussian(basis, variance)
    return data, data.sample(count, torch.Generator().manual_seed(seed), channels).numpy()


def of_frequency(size, slope):
    """The same with a power of exactly 1 / f^slope."""
    basis = DCT(size)
    return oracle.Gaussian(basis, basis.freq2.clamp_min(basis.freq2[basis.freq2 > 0].min()) ** (-slope / 2))


# --- what is measured --------------------------------------------------------------------------------------

AXIS = st.integers(2, 7) | st.integers(2, 7).map(Circle)


@settings(max_examples=30)
@given(st.lists(AXIS, min_size=1, max_size=3), st.integers(1, 2), st.integers(0, 100))
def test_the_fast_transform_is_the_basis(axes, channels, seed):
    basis = DCT(tuple(axes))
    x = np.random.default_rng(seed).standard_normal((3, channels, *basis.freq2.shape[2:]))
    slow = basis.forward(torch.from_numpy(x)).numpy()
    assert np.abs(measure.transform(x, basis) - slow).max() < 1e-12


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_in_batches_and_at_once_are_the_same(monkeypatch, batch):
    """Mean and variance to twelve digits, where the mean is a million times the deviation."""
    x = 1e6 + np.random.default_rng(0).standard_normal((50, 2, 8))
    monkeypatch.setattr(sources, "BATCH", batch * 8 * 16)
    found = spectra.of(x, "NCX")
    scaled = torch.from_numpy((x - x.mean()) / x.std())
    fitted = oracle.Gaussian.fit(DCT((8,)), scaled)
    assert found.offset == pytest.approx(x.mean(), rel=1e-12)
    assert found.factor == pytest.approx(1 / x.std(), rel=1e-9)
    torch.testing.assert_close(found.variance, fitted.variance, rtol=1e-8, atol=0)
    torch.testing.assert_close(found.mean, fitted.mean, rtol=0, atol=1e-8)


def test_grey_levels_are_scaled_as_the_library_does():
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 6), dtype=np.uint8)
    found = spectra.of(x)
    fitted = oracle.Gaussian.fit(DCT(6), torch.from_numpy(x).double() / 127.5 - 1)
    torch.testing.assert_close(found.variance, fitted.variance)
    torch.testing.assert_close(found.mean, fitted.mean)
    assert found.gaussian.basis == DCT(6)


@pytest.mark.parametrize("size", [(256,), (32, 32), (24, 16), (12, 12, 12), (Circle(32), 16)])
def test_the_slope_of_a_power_law(size):
    data = of_frequency(size, slope=1.5)
    circles = [k for k, axis in enumerate(size) if isinstance(axis, Circle)]
    x = data.sample(400, torch.Generator().manual_seed(0)).numpy()
    found = spectra.of(x, layout="NC" + "X" * len(size), circles=circles)
    assert abs(found.slope - 1.5) < 0.05  # bands are wide: their mean power is not that at their mean frequency
    assert found.slope_error < 0.05
    total = sum(band.count for band in found.bands)
    assert total == data.variance.numel() - 1, "all but the mean, each once"


def test_error_bars_are_those_of_the_scatter():
    """Over 200 data sets: power, slope, kurtosis scatter as they say, and on average are right."""
    data, _ = power_law((16,), 1)
    x = data.sample(200 * 60, torch.Generator().manual_seed(1)).numpy().reshape(200, 60, 16)
    found = [spectra.of(each, "NX", (16,)) for each in x]
    for number, error in (("power", "power_error"), ("kurtosis", "kurtosis_error")):
        unit = np.array([one.factor**2 if number == "power" else 1 for one in found])[:, None]
        each = np.array([[getattr(band, number) for band in one.bands] for one in found]) / unit
        told = np.array([[getattr(band, error) for band in one.bands] for one in found]) / unit
        assert np.all(abs(told.mean(0) / each.std(0) - 1) < 0.25)
    kurtosis = np.array([[band.kurtosis for band in one.bands] for one in found])
    assert np.all(abs(kurtosis.mean(0)) < 4 * kurtosis.std(0) / 200**0.5)
    slopes = np.array([one.slope for one in found])
    assert abs(np.mean([one.slope_error for one in found]) / slopes.std() - 1) < 0.15


def test_negentropy_of_gaussian_data_is_nothing_and_of_laplace_data_its_own():
    random = np.random.default_rng(0)
    basis = DCT((16,))
    gaussian, laplace = (
        basis.inverse(torch.from_numpy(draw(size=(20_000, 1, 16)))).numpy()
        for draw in (random.standard_normal, random.laplace)
    )
    few = [spectra.of(gaussian[at : at + 100], "NCX").negentropy for at in range(0, 20_000, 100)]
    assert abs(np.mean(few)) < 4 * np.std(few) / len(few) ** 0.5 < 0.002, "no bias of few samples"
    found = spectra.of(laplace, "NCX")
    exact = 0.5 * math.log(2 * math.pi * math.e) - 1 - math.log(math.sqrt(2))
    assert found.negentropy == pytest.approx(exact, rel=0.25), "an approximation"
    assert np.mean([band.kurtosis for band in found.bands]) == pytest.approx(3, rel=0.1)


def test_what_it_looks_like():
    found = spectra.of(power_law(8, 100)[1])
    told = repr(found)
    assert told.startswith("an array: 100 samples of 1 x 8 x 8\nscaled: ")
    assert len(told.splitlines()) == 5 + len(found.bands)
    ax = found.plot()
    assert ax.get_xlabel() == "frequency, cycles per sample"
    assert [ax.get_xscale(), ax.get_yscale()] == ["log", "log"]


# --- what is read ------------------------------------------------------------------------------------------


def everything(opened):
    return np.concatenate(list(opened.batches()))


X = np.random.default_rng(3).standard_normal((6, 2, 4, 5))


@pytest.mark.parametrize(
    ("layout", "array"),
    [
        ("NCXX", X),
        ("NXXC", np.moveaxis(X, 1, -1)),
        ("CNXX", np.swapaxes(X, 0, 1)),
        ("XXNC", np.moveaxis(X, (2, 3), (0, 1))),
    ],
)
def test_a_layout_says_where_the_axes_are(tmp_path, layout, array):
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", other=np.zeros(3), x=array)
    save_file({"x": np.ascontiguousarray(array)}, tmp_path / "x.safetensors")
    for source in (array, tmp_path / "x.npy", f"{tmp_path}/x.npz:x", f"{tmp_path}/x.safetensors"):
        assert np.array_equal(everything(spectra.samples(source, layout, (4, 5))), X)


@pytest.mark.parametrize(
    ("layout", "array", "shape"),
    [
        ("X", X.ravel(), (1, 2)),
        ("NX", X.reshape(12, 20), (1, 20)),
        ("CX", X[0].reshape(2, 20), (2, 20)),
        ("XX", X[0, 0], (1, 4, 5)),
        ("XXX", X[:, 0], (1, 6, 4, 5)),
    ],
)
def test_layouts_of_fewer_axes(layout, array, shape):
    with pytest.raises(ValueError, match="at least 2") if layout in ("CX", "XX", "XXX") else contextlib.nullcontext():
        opened = spectra.samples(array, layout, shape[1:])
        assert opened.shape == shape


def test_windows_lie_side_by_side_and_few_samples_are_cut_into_them():
    field = np.arange(2 * 8 * 6.0).reshape(1, 2, 8, 6)
    opened = spectra.samples(field, window=[4, 3])
    assert np.array_equal(everything(opened)[1], field[0, :, :4, 3:])
    assert (len(opened), opened.cut) == (4, "windows of 4 x 3, side by side")
    assert spectra.samples(np.zeros((16, 16, 16)), "XXX").shape == (1, 4, 8, 8)


def test_of_more_than_a_memory_holds_some_are_read(tmp_path):
    """Forty gigabytes, of which the disk holds little: a memory map of samples that are spread evenly."""
    total, limit = 10_000_000, 150
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (total, 1, 32, 32))
    picked = np.linspace(0, total - 1, limit).round().astype(int)
    random = np.random.default_rng(0)
    for place in picked:
        big[place] = random.standard_normal((1, 32, 32))
    big.flush()
    assert (tmp_path / "big.npy").stat().st_size > 40e9
    found = spectra.of(tmp_path / "big.npy", limit=limit)
    assert (found.count, found.total) == (limit, total)
    assert abs(found.slope) < 5 * found.slope_error


def sound(path, samples, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def test_a_sound_is_windows_of_its_tracks(tmp_path):
    samples = np.random.default_rng(0).integers(-30000, 30000, (5000, 2)).astype("<i2")
    sound(tmp_path / "a.wav", samples)
    found = spectra.of(tmp_path / "a.wav", window=[256])
    opened = spectra.samples(tmp_path / "a.wav", window=[256])
    assert np.array_equal(everything(opened)[3], samples[768:1024].T / 2**15)
    assert (found.shape, found.rate, found.count) == ((2, 256), 8000, 19)
    assert " Hz " in repr(found)
    sound(tmp_path / "b.wav", samples[:700])
    assert len(spectra.samples(tmp_path, window=[256])) == 19 + 2, "a folder of sounds"
    sound(tmp_path / "eight.wav", np.random.default_rng(0).integers(0, 255, (900, 1)).astype("u1"), rate=4000)
    with pytest.raises(ValueError, match="several rates or numbers of tracks: 4000 Hz with 1, 8000 Hz with 2"):
        spectra.samples(tmp_path, window=[256])
    assert abs(everything(spectra.samples(tmp_path / "eight.wav", window=[256])).mean()) < 0.1


def pictures(folder, count=5, side=40, colour=False):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(side)
    for k in range(count):
        shape = (side, side + 2, 3) if colour else (side, side + 2)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{side}-{k}.png")


def test_pictures_are_as_large_as_the_smallest_or_patches(tmp_path):
    pictures(tmp_path / "grey")
    assert spectra.samples(tmp_path / "grey", size=8).shape == (1, 8, 8)
    patches = spectra.samples(tmp_path / "grey", window=[16])
    first = np.asarray(Image.open(tmp_path / "grey/40-0.png"))
    assert (len(patches), patches.shape) == (5 * 2 * 2, (1, 16, 16))
    assert np.array_equal(everything(patches)[1, 0], first[:16, 16:32])
    pictures(tmp_path / "grey", count=70, side=24)
    assert spectra.samples(tmp_path / "grey").shape == (1, 24, 24)
    assert len(spectra.samples(tmp_path / "grey", window=[16])) == 5 * 4 + 70, "of pictures of several sizes"
    pictures(tmp_path / "colour", count=64, side=10, colour=True)
    assert spectra.samples(tmp_path / "colour").shape == (3, 10, 10)


# --- what cannot be read -----------------------------------------------------------------------------------


def nan(x):
    x = x.copy()
    x[3, 0, 1, 2] = np.nan
    return x


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((0, 1, 4, 4)), {}, "has no values: 0 samples"),
        (np.zeros((5, 1, 0, 4)), {}, "has no values"),
        (nan(X), {"window": (4, 5)}, "sample 3 has a NaN or infinite value"),
        (np.ones((70, 1, 4, 4)), {}, "all 70 samples are equal"),
        (np.arange(70.0)[:, None, None, None] * np.ones((1, 1, 4, 4)), {}, "vary in their mean alone"),
        (X[:1], {"window": (4, 5)}, "has one sample of 2 x 4 x 5"),
        (X.astype(complex), {}, "values of type complex128; expected real numbers"),
        (np.array([["a", "b"]]), {}, "expected real numbers"),
        (X[0], {}, r"can be read in several ways; say which by layout: NXX \(N grey pictures\)"),
        (np.moveaxis(X, 1, -1).repeat(3, 1), {}, "looks like channels last; say so, layout NXXC"),
        (X, {"layout": "NXX"}, r"layout was 'NXX' for shape \(6, 2, 4, 5\); expected 4 letters"),
        (X, {"layout": "NCCX"}, "at most one N"),
        (X, {"window": (9, 9)}, r"window was \(9, 9\) for samples of 4 x 5; expected one number or 2"),
        (X, {"window": (2, 2, 2)}, "expected one number or 2"),
        (X, {"window": (1,)}, "each from 2 to the side"),
        (X, {"size": 8}, "which is for a folder of pictures"),
        (X, {"limit": 1}, "limit was 1; expected at least 2"),
        (X, {"circles": (2,), "window": (4, 5)}, r"expected some of 0\.\.1"),
        (X, {"circles": (0,), "window": (2, 5)}, "a window does not wrap around"),
        (X[..., None, None, None], {}, "expected 1 to 5 axes"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(array, options, message):
    with pytest.raises(ValueError, match=message):
        spectra.of(array, **options)


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    np.savez(tmp_path / "two.npz", a=X, b=X)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    (tmp_path / "net.pt").write_bytes(b"")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    for name, message in {
        "two.npz": "has a, b; expected one by name, e.g. .*two.npz:a",
        "two.npz:c": "has a, b; expected one by name",
        "broken.npy": "cannot be read as .npy",
        "broken.npz": "cannot be read as .npz",
        "broken.wav": "cannot be read as a sound",
        "broken.safetensors": "cannot be read as .safetensors",
        "net.pt": "a pickle runs code when it is read",
        "objects.npy": "cannot be read as .npy",
    }.items():
        with pytest.raises(ValueError, match=message):
            spectra.samples(f"{tmp_path}/{name}")
    with pytest.raises(FileNotFoundError, match=r"there is no .*nothing\.npy; expected a folder"):
        spectra.samples(tmp_path / "nothing.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        spectra.samples(tmp_path / "empty")
    pictures(tmp_path / "pictures", count=3)
    with pytest.raises(ValueError, match="expected one of them"):
        spectra.samples(tmp_path / "pictures", size=8, window=[8])
    with pytest.raises(ValueError, match="leave it out"):
        spectra.samples(tmp_path / "pictures", layout="NXX")


def test_large_integers_do_not_overflow():
    x = np.random.default_rng(0).integers(-(2**31), 2**31, (200, 1, 8), dtype=np.int32)
    assert spectra.of(x, "NCX").variance.mean() == pytest.approx(1, rel=0.05)


# --- the advice --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """The table's columns of many steps take seconds, and are computed as the others are."""
    monkeypatch.setattr(advice, "STEPS", (5, 10))


@pytest.fixture(scope="module")
def photos():
    return spectra.of(power_law(32, 300, channels=3)[1])


def test_some_coefficients_stand_for_all(photos):
    """To a per cent, for every system."""
    some = advice.Some.of(photos.gaussian)
    assert some.whole == 3 * 32 * 32 > advice.SOME
    for name, process in advice.systems(photos.basis.size).items():
        times = process.times(10)
        exact = photos.gaussian.sampler_error(process, times, "ddim").kl.sum().item()
        found = some.kl(some.of_process(process, photos.variance.shape), times, "ddim", 1)
        assert found == pytest.approx(exact, rel=0.02), name


def test_nats_are_those_of_samples():
    """By walking 40,000 samples of a series through the library's sampler, with the exact denoiser."""
    _, x = power_law((12,), 500)
    found = spectra.of(x, "NCX")
    advised = spectra.advise(found)
    process = processes.cosine_diffusion(found.basis)
    random = torch.Generator().manual_seed(0)
    truth = found.gaussian
    mean, variance = truth.marginal(process, 1.0)
    start = truth.basis.inverse(mean + variance.sqrt() * torch.randn(40_000, 1, 12, generator=random).double())
    walk = samplers.sample(truth.denoiser(process), start, process.times(5), "ddim", random)
    u = truth.basis.forward(samplers.last(walk).x)
    mean, variance = truth.marginal(process, 0.0)
    ratio = u.var(0) / variance
    shift = (u.mean(0) - mean) ** 2 / variance
    kl = 0.5 * (ratio - 1 - ratio.log() + shift).sum().item()
    assert advised.kl["cosine"]["DDIM"][5] == pytest.approx(kl, rel=0.03)


def test_under_equal_snr_ddim_is_at_its_floor_and_the_flow_rule_is_exact(photos):
    advised = spectra.advise(photos, calls=10)
    row = advised.kl["equal SNR"]["DDIM"]
    assert row[10] == pytest.approx(oracle.ddim_floor(photos.variance.numel(), 10), rel=0.1)
    for name, rules in advised.kl.items():
        for n, nats in rules["DDIM"].items():
            assert nats >= 0.9 * row[n], name  # cut clocks may lie a little below the floor
    error = photos.gaussian.sampler_error(advised.process, advised.times, advised.rule, order=advised.order)
    assert error.kl.sum() < 1e-12
    assert len(advised.times) == 11
    assert "flow rule of order 2" in repr(advised)
    assert spectra.advise(photos, calls=5).order == 1


def test_sigmas_go_down_and_miss_least_of_their_grids(photos):
    advised = spectra.advise(photos, calls=8)
    for order, sigmas in advised.sigmas.items():
        assert len(sigmas) == 8
        assert all(a > b > 0 for a, b in itertools.pairwise(sigmas))
        ends = torch.tensor([*sigmas, 0.0], dtype=torch.float64)
        white = processes.Process(
            photos.basis, torch.ones_like, lambda t, ends=ends: ends[((1 - t) * 8).round().long()], 8
        )
        exact = photos.gaussian.sampler_error(white, white.times(), "ddim", order=order).kl.sum().item()
        assert min(row[order] for row in advised.white.values()) == pytest.approx(exact, rel=0.02)
        assert any("Karras" in name and row[order] > exact for name, row in advised.white.items())
    start = oracle.SamplerError(
        torch.zeros_like(photos.mean),
        torch.full_like(photos.variance, advised.sigmas[1][0] ** 2),
        photos.mean,
        photos.variance + advised.sigmas[1][0] ** 2,
    )
    assert start.kl.sum() == pytest.approx(advice.START, rel=0.01)


def test_clocks_are_the_laboratorys(photos):
    advised = spectra.advise(photos)
    for row in advised.clocks["equal SNR"]:
        assert max(row) - min(row) < 1
    low, middle, high = advised.clocks["blurring"][1]
    assert low < middle < high, "the coarse is left longest"


def test_the_second_order_was_ahead_as_the_advice_says():
    """Of the first, under equal SNR, by sliced W2, energy distance and density (the fourth), in both seeds."""
    study = recorded.laboratory("few_calls")
    for data in ("fashion", "photos"):
        for seed in (0, 1):
            measured = study[f"{data}, equal SNR, uniform, seed {seed}"]["measured"]
            for calls in ("5", "10", "20"):
                first, second = (np.array(measured[rule][calls]) for rule in ("flow", "flow, order 2"))
                assert np.all((second < first)[[0, 1, 3]]), (data, seed, calls)
    assert any("5, 10 and 20 calls" in reason for reason in spectra.advise(spectra.of(X, window=(4, 5))).reasons)


def test_the_advice_was_ahead_of_the_papers_samplers():
    """In ten calls of an exact network, on mixtures fitted to four kinds of data: by every measure, in both seeds."""
    rows = recorded.laboratory("your_data")
    compared = 0
    for key, row in rows.items():
        name, _, seed = key.split(", ")[0], *key.rsplit(", ", 1)
        advised = rows[f"{name}, advice, {seed}"]
        if row is not advised:
            compared += 1
            assert all(advised[measure] < row[measure] for measure in ("sliced_w2", "energy", "shares")), key
    assert compared == 4 * 10 * 2


def test_constant_coefficients_are_no_obstacle():
    x = np.random.default_rng(0).standard_normal((100, 1, 8, 8))
    x -= x.mean(2, keepdims=True)  # a row of coefficients is always 0
    advised = spectra.advise(spectra.of(x))
    assert all(math.isfinite(nats) for rules in advised.kl.values() for row in rules.values() for nats in row.values())


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_tells_all_and_writes_what_is_asked_for(tmp_path, capsys):
    np.save(tmp_path / "x.npy", power_law((32,), 200)[1])
    arguments = [str(tmp_path / "x.npy"), "--layout", "NCX", "--calls", "6", "--json", str(tmp_path / "x.json")]
    assert cli.main(["spectrum", *arguments, "--sigmas", "numpy"]) == 0
    told = capsys.readouterr().out
    found = spectra.of(tmp_path / "x.npy", "NCX")
    advised = spectra.advise(found, 6)
    assert repr(found) in told
    assert repr(advised) in told
    line = next(line for line in told.splitlines() if line.startswith("sigmas = "))
    scope = {"np": np}
    exec(line, scope)
    assert scope["sigmas"] == pytest.approx([*advised.sigmas[2], 0], rel=1e-5)
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["slope"]["value"] == found.slope
    assert written["nats"]["cosine"]["DDIM"]["10"] == advised.kl["cosine"]["DDIM"][10]
    assert written["advice"]["times"] == advised.times.tolist()


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    np.save(tmp_path / "x.npy", X)
    assert cli.main(["spectrum", str(tmp_path / "x.npy"), "--calls", "0"]) == 2
    assert "calls was 0; expected at least 1" in capsys.readouterr().err
    assert cli.main(["spectrum", str(tmp_path / "y.npy")]) == 2
    assert "there is no" in capsys.readouterr().err
