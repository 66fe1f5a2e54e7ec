"""Later papers in the book's notation: each statement that is called known or checked, and the page that says so."""

import itertools
import re
from pathlib import Path

import ledgers
import numpy as np
import pytest
import scipy.integrate
import sympy
import torch
from reference import dct, idct, lam
from scipy import ndimage

from bdbook import data, oracle, priors
from bdbook.denoiser import EPS, X0, Denoiser, V
from bdbook.processes import HeatFlow, RectifiedFlow, blurring_diffusion, cosine_diffusion, heat_flow, rectified_flow
from bdbook.samplers import analytic, ancestral, coloured, ddim, last, sample, step
from bdbook.transforms import DCT

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "since_2022.md").read_text(encoding="utf-8")
SIZE = (5, 4)
RNG = np.random.default_rng(0)
X_T, X0_HAT, EPS_HAT, FRESH = RNG.standard_normal((4, 3, 2, *SIZE))
VARIANCE = RNG.uniform(0.05, 3, SIZE)
LAW = oracle.Gaussian(DCT(SIZE), torch.from_numpy(VARIANCE)[None, None])


@pytest.fixture(scope="module")
def power_law():
    """The laboratory's power law, 16 px, under cosine diffusion: (process, law)."""
    process = cosine_diffusion(basis=DCT(16))
    return process, oracle.Gaussian.fit(process.basis, data.load("gaussian", 16, count=2048))


@pytest.fixture(scope="module")
def photographs():
    """The spectrum of photographs, 32 px."""
    return oracle.Gaussian.fit(DCT(32), data.load("photos", 32, count=2048))


def kl(law, process, steps, rule):
    return law.sampler_error(process, process.times(steps), rule).kl.sum().item()


def told(text):
    """Whether the page says just this, however its lines are broken."""
    return text in " ".join(PAGE.split())


def answer(process, t, given, predicts):
    denoiser = Denoiser(lambda x, t: torch.from_numpy(given).to(x), process, predicts)
    return denoiser.estimate(torch.from_numpy(X_T), t)


# --- flow matching ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.9), (0.7, 0.2), (0.3, 0.0)])
@pytest.mark.parametrize("basis", [None, DCT(SIZE)])
def test_ddim_of_rectified_flow_is_a_step_of_euler(t, s, basis):
    # x_t = (1 - t) x + t eps: the velocity dx/dt = eps - x, with what the network says of the two.
    eps_hat = (X_T - (1 - t) * X0_HAT) / t
    euler = X_T + (s - t) * (eps_hat - X0_HAT)
    ours = step(answer(RectifiedFlow(basis), t, X0_HAT, X0), t, s, ddim)
    np.testing.assert_allclose(ours.numpy(), euler, rtol=0, atol=1e-12)


def test_a_walk_of_ddim_is_eulers_method_on_the_flow():
    process = rectified_flow(basis=DCT(SIZE))
    times = np.array([1.0, 0.8, 0.55, 0.3, 0.1, 0.0])
    u = dct(X_T)
    for t, s in itertools.pairwise(times):
        # E[eps - x | u] of a Gaussian: covariance over variance.
        u = u + (s - t) * (t - (1 - t) * VARIANCE) / ((1 - t) ** 2 * VARIANCE + t**2) * u
    walk = last(sample(LAW.denoiser(process), torch.from_numpy(X_T), torch.from_numpy(times), ddim))
    np.testing.assert_allclose(walk.x.numpy(), idct(u), rtol=0, atol=1e-12)


def test_euler_is_exact_on_a_straight_path_and_not_on_the_flow():
    """For one image and one noise any step is right; the flow is of their means, and one step gives the mean image."""
    process, x, eps = rectified_flow(), X0_HAT, EPS_HAT
    t = 0.8
    x_t = (1 - t) * x + t * eps
    np.testing.assert_allclose(x_t + (0.1 - t) * (eps - x), 0.9 * x + 0.1 * eps, rtol=0, atol=1e-12)
    error = LAW.sampler_error(rectified_flow(basis=DCT(SIZE)), process.times(1), ddim)
    np.testing.assert_allclose(error.variance.numpy(), 0, atol=1e-30)


def test_ddim_is_eulers_step_only_where_the_schedules_are_lines():
    """DDIM puts alpha_s and sigma_s where Euler puts their tangents at t: proof by difference, for any guess."""
    t, s, x, eps, a_t, a_s, da, n_t, n_s, dn = sympy.symbols("t s x eps a_t a_s da n_t n_s dn")
    u = a_t * x + n_t * eps
    euler = u + (s - t) * (da * x + dn * eps)
    gap = sympy.expand(a_s * x + n_s * eps - euler)
    assert sympy.simplify(gap.coeff(x) - (a_s - a_t - (s - t) * da)) == 0
    assert sympy.simplify(gap.coeff(eps) - (n_s - n_t - (s - t) * dn)) == 0


def test_rectified_flow_is_cosine_diffusion_seen_at_other_times():
    """Divide z_t by alpha + sigma and call sigma / (alpha + sigma) time: DDIM gives the same law at each step."""
    cosine, flow = cosine_diffusion(basis=DCT(SIZE)), rectified_flow(basis=DCT(SIZE))
    grid = cosine.times(12)
    alpha, sigma = cosine.alpha(grid).flatten(), cosine.sigma(grid).flatten()
    moved = sigma / (alpha + sigma)
    torch.testing.assert_close(flow.snr(moved), cosine.snr(grid), rtol=1e-10, atol=0)
    for rule in (ddim, ancestral):
        ours, theirs = LAW.sampler_error(cosine, grid, rule), LAW.sampler_error(flow, moved, rule)
        torch.testing.assert_close(ours.kl, theirs.kl, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.9, 1.0])
def test_heat_flow_is_the_heat_equation_and_noise(t):
    process = heat_flow(SIZE, rate=0.7, noise=1.5)
    with np.errstate(divide="ignore"):
        tau = -0.7 * np.log(1 - t)
    fading = np.where(lam(SIZE) == 0, 1.0, np.exp(-np.where(lam(SIZE) == 0, 1.0, lam(SIZE)) * tau))
    expected = idct((1 - t) * fading * dct(X0_HAT) + 1.5 * t * dct(EPS_HAT))
    ours = process.sample(torch.from_numpy(X0_HAT), t, torch.from_numpy(EPS_HAT))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)


def test_heat_flow_blurs_as_scipy_does():
    # exp(-lambda sigma^2 / 2) is a sampled Gaussian but for the frequencies that sampling folds back.
    x, process = RNG.standard_normal((1, 1, 40, 40)), heat_flow(40, rate=2.0)
    for t in (0.7, 0.9):
        width = np.sqrt(-2 * 2.0 * np.log(1 - t))
        blurred = ndimage.gaussian_filter(x, width, axes=(-2, -1), mode="reflect", truncate=8)
        bound = 4 * np.exp(-((np.pi * width) ** 2) / 2) * np.linalg.norm(x) + 1e-10
        ours = process.mean(torch.from_numpy(x), t).numpy() / (1 - t)
        np.testing.assert_allclose(ours, blurred, rtol=0, atol=bound)


def test_heat_flow_without_blur_is_rectified_flow():
    t = torch.linspace(0, 1, 7)
    ours, flow = heat_flow(SIZE, rate=0.0), rectified_flow()
    assert ours.alpha(t).shape == (7, 1, *SIZE)
    torch.testing.assert_close(ours.alpha(t), flow.alpha(t).expand(-1, 1, *SIZE), rtol=0, atol=0)
    torch.testing.assert_close(ours.sigma(t), flow.sigma(t), rtol=0, atol=0)


def test_the_velocity_of_heat_flow_is_that_of_its_path():
    """In Ma et al.'s time r = 1 - t: dz/dr = blurred - eps + rate lambda blurred (they blur by r^(rate lambda))."""
    r, x, eps, rate, frequency = sympy.symbols("r x eps rate lambda", positive=True)
    blurred = r ** (rate * frequency) * x
    path = r * blurred + (1 - r) * eps
    assert sympy.simplify(sympy.diff(path, r) - (blurred - eps + rate * frequency * blurred)) == 0
    process, h = heat_flow(SIZE), 1e-6
    numerical = (process.alpha(0.4 + h) - process.alpha(0.4 - h)) / (2 * h)
    np.testing.assert_allclose(numerical[0, 0].numpy(), -(1 + lam(SIZE) / 2) * 0.6 ** (lam(SIZE) / 2), rtol=1e-8)


def eulers_kl(law, process, slope, steps):
    """KL of Euler's method on the probability flow, every step's factor written out in numpy."""
    grid, v = np.linspace(1, 0, steps + 1), law.variance.numpy()
    alpha, sigma = (f(torch.from_numpy(grid)).numpy() for f in (process.alpha, process.sigma))
    weight = np.ones_like(v)
    for i, (t, s) in enumerate(itertools.pairwise(grid)):
        total = alpha[i] ** 2 * v + sigma[i] ** 2
        guess_x, guess_eps = alpha[i] * v / total, sigma[i] / total
        weight = weight * (1 + (s - t) * (slope(t) * guess_x + guess_eps))
    r = weight**2 * (alpha[0] ** 2 * v + sigma[0] ** 2) / v
    return float((r - 1 - np.log(r)).sum() / 2)


def test_along_the_heat_equation_ddim_is_nearer_than_euler(photographs):
    heat, straight = heat_flow(32), rectified_flow(basis=DCT(32))
    frequency = lam((32, 32))
    bent = eulers_kl(photographs, heat, lambda t: -(1 + frequency / 2) * (1 - t) ** (frequency / 2), 50)
    lines = eulers_kl(photographs, straight, lambda t: -1.0, 50)
    found = {name: kl(photographs, process, 50, ddim) for name, process in (("heat", heat), ("flow", straight))}
    assert lines == pytest.approx(found["flow"], rel=1e-9)
    assert found["flow"] < found["heat"] < bent
    assert told(f"DDIM is {found['heat']:.1f} nats from the data and Euler's method {bent:.1f}")
    assert told(f"without blur both are {found['flow']:.1f} away")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: heat_flow(8, rate=-1.0), "rate was -1"),
        (lambda: heat_flow(8, noise=0.0), "noise was 0"),
        (lambda: coloured(LAW.variance, power=-0.1), "power was -0.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_flows_begin_with_what_they_end_in():
    assert rectified_flow().start.kind == "noise"
    assert HeatFlow(8).start.kind == "marginal"
    law = oracle.Gaussian(DCT(8), torch.ones(1, 1, 8, 8).double())
    begin = priors.of_process(heat_flow(8, noise=2.0), (1, 8, 8), law, images=lambda: None)
    drawn = begin(500, torch.Generator().manual_seed(0))
    assert drawn.std().item() == pytest.approx(2.0, abs=0.05)


# --- coloured noise --------------------------------------------------------------------------------------------


def test_coloured_is_its_formula():
    process, t, s, power = blurring_diffusion(SIZE, sigma_max=2.0), 0.6, 0.5, 0.7
    carry, refresh = coloured(LAW.variance, power)(process, t, s)
    white_carry, white = ancestral(process, t, s)
    alpha, sigma = process.alpha(t)[0, 0].numpy(), process.sigma(t).item()
    left = 1 - alpha**2 * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
    moved = white[0, 0].numpy() ** 2 * left**power
    expected = moved * (white.numpy() ** 2).sum() / moved.sum()
    torch.testing.assert_close(carry, white_carry, rtol=0, atol=0)
    np.testing.assert_allclose(refresh[0, 0].numpy() ** 2, expected, rtol=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("process", [cosine_diffusion(basis=DCT(SIZE)), heat_flow(SIZE)])
def test_coloured_keeps_the_energy(process, power):
    t, s = torch.tensor([1.0, 0.5, 0.1]), torch.tensor([0.9, 0.4, 0.0])
    _, refresh = coloured(LAW.variance, power)(process, t, s)
    _, white = ancestral(process, t, s)
    assert not refresh.isnan().any()
    energy = (refresh**2).expand(3, 1, *SIZE).sum((1, 2, 3))
    torch.testing.assert_close(energy, (white**2).expand(3, 1, *SIZE).sum((1, 2, 3)), rtol=1e-12, atol=1e-300)
    if power == 0:
        torch.testing.assert_close(refresh, white.expand_as(refresh), rtol=1e-12, atol=0)


def test_coloured_walks_pictures_to_the_law_that_the_laboratory_tells():
    process, count = cosine_diffusion(basis=DCT(SIZE)), 20_000
    rule, generator = coloured(LAW.variance, 1.0), torch.Generator().manual_seed(0)
    start = torch.randn((count, 1, *SIZE), generator=generator, dtype=torch.float64)
    drawn = last(sample(LAW.denoiser(process), start, process.times(8), rule, generator)).x
    ones = torch.ones(1, 1, *SIZE, dtype=torch.float64)
    law = LAW.sampler_error(process, process.times(8), rule, start=(0 * ones, ones))
    # A variance of 20,000 draws has a standard error of 1 per cent; 5 of them for 20 coefficients.
    np.testing.assert_allclose(dct(drawn.numpy()).var(0)[0], law.variance[0, 0].numpy(), rtol=0.05)


def test_coloured_noise_fills_a_deficit_of_few_steps_and_ends_elsewhere(power_law, photographs):
    process, law = power_law
    for steps, nearer in ((50, True), (1000, False)):
        white, moved = kl(law, process, steps, ancestral), kl(law, process, steps, coloured(law.variance, 0.3))
        published = kl(law, process, steps, coloured(law.variance))
        assert (moved < white) == nearer
        assert published > white, "more colour than this spectrum bears, at 50 steps too"
        assert told(f"| power law, {steps} | {white:.2g} | {moved:.2g} | {published:.2g} |")
    process = cosine_diffusion(basis=DCT(32))
    for steps in (50, 1000):
        rules = ancestral, coloured(photographs.variance, 0.3), coloured(photographs.variance)
        white, *moved = (kl(photographs, process, steps, rule) for rule in rules)
        assert all((found < white) == (steps == 50) for found in moved)
        assert told(f"| photographs, {steps} | {white:.2g} | {moved[0]:.2g} | {moved[1]:.2g} |")
    both = kl(law, cosine_diffusion(basis=DCT(16)), 50, ddim), kl(photographs, process, 50, ddim)
    assert told(f"nearer than either: {both[0]:.1g} and {both[1]:.2g} nats")


def limit(law, process, power):
    """The law of the coloured walk with infinitely many steps: its variances by scipy, one equation a frequency.

    With alpha = cos, sigma = sin of an angle, a step down by d multiplies u by 1 + d (g sin - k (1 - g cos)), where
    k = tan + 2 cot and g is the Wiener filter, and refreshes 2 d tan w, w of mean 1 over the frequencies.
    """
    v = law.variance.numpy().ravel()
    high, low = (np.arctan2(process.sigma(t).item(), process.alpha(t).item()) for t in (1.0, 0.0))

    def slope(down, variance):
        angle = high - down
        total = np.cos(angle) ** 2 * v + np.sin(angle) ** 2
        gain = np.cos(angle) * v / total
        left = (np.sin(angle) ** 2 / total) ** power
        drift = gain * np.sin(angle) - (np.tan(angle) + 2 / np.tan(angle)) * (1 - gain * np.cos(angle))
        return 2 * drift * variance + 2 * np.tan(angle) * left / left.mean()

    begin = np.cos(high) ** 2 * v + np.sin(high) ** 2
    # LSODA, since the equations are stiff near the data; each frequency's is its own, so the Jacobian is diagonal.
    walked = scipy.integrate.solve_ivp(
        slope, (0, high - low), begin, method="LSODA", rtol=1e-9, atol=1e-12, lband=0, uband=0
    )
    r = walked.y[:, -1] / (np.cos(low) ** 2 * v + np.sin(low) ** 2)
    return float((r - 1 - np.log(r)).sum() / 2)


def test_the_limit_of_coloured_noise_is_another_law(power_law):
    process, law = power_law
    assert limit(law, process, 0.0) == pytest.approx(0, abs=1e-9)
    end = limit(law, process, 0.3)
    coarse, fine = (kl(law, process, steps, coloured(law.variance, 0.3)) for steps in (1000, 2000))
    assert 2 * fine - coarse == pytest.approx(end, rel=0.02)  # the error of a step is of first order
    assert told(f"With infinitely many steps it stays {end:.2f} nats away")


def test_in_the_limit_the_largest_variance_is_too_small(power_law):
    process, law = power_law
    for power in (0.3, 1.0):
        ratio = law.sampler_error(process, process.times(1000), coloured(law.variance, power)).ratio.flatten()
        assert ratio[law.variance.argmax()] < 0.99
        assert ratio[law.variance.argmin()] > 1.01
    white = law.sampler_error(process, process.times(1000), ancestral).ratio.flatten()
    assert (white - 1).abs().max() < 0.03


# --- what was known --------------------------------------------------------------------------------------------


def test_the_flow_of_a_gaussian_has_a_closed_form():
    """u_s / S_s = u_t / S_t: any leap is exact, where DDIM gets there with many steps only."""
    process = cosine_diffusion(basis=DCT(SIZE))
    (_, before), (_, after) = LAW.marginal(process, 1.0), LAW.marginal(process, 0.2)
    leap = (after / before).sqrt()[0, 0].numpy() * dct(X_T)
    gaps = []
    for steps in (100, 200):
        times = torch.linspace(1, 0.2, steps + 1).double()
        walked = last(sample(LAW.denoiser(process), torch.from_numpy(X_T), times, ddim)).x
        gaps.append(np.abs(dct(walked.numpy()) - leap).max())
    assert gaps[1] < 0.03
    assert gaps[1] == pytest.approx(gaps[0] / 2, rel=0.05)


def test_ddim_turns_by_the_difference_of_angles():
    """Salimans & Ho: z_s = cos(d) z_t - sin(d) v, d the angle between the two times."""
    process, t, s = cosine_diffusion(), 0.7, 0.4
    angle = [np.arctan2(process.sigma(r).item(), process.alpha(r).item()) for r in (t, s)]
    d = angle[0] - angle[1]
    ours = step(answer(process, t, EPS_HAT, V), t, s, ddim).numpy()
    np.testing.assert_allclose(ours, np.cos(d) * X_T - np.sin(d) * EPS_HAT, rtol=0, atol=1e-12)


def test_white_noise_drowns_high_frequencies_first_where_the_spectrum_falls(power_law):
    process, law = power_law
    frequency = process.basis.freq2.flatten()
    ratio = {}
    for t in (0.2, 0.5, 0.8):
        known = process.snr(t) * law.variance
        low, high = (known.flatten()[part].mean() for part in (frequency < 1, frequency > 9))
        ratio[t] = (low / high).item()
        assert low > 10 * high
    # Relative to each other nothing changes: the noise is white, and the order is the data's.
    assert ratio[0.2] == pytest.approx(ratio[0.8], rel=1e-9)


def test_the_analytic_variance_is_exact_where_coloured_noise_is_not(power_law):
    process, law = power_law
    for steps in (5, 50):
        assert kl(law, process, steps, analytic(law.variance)) < 1e-20


def test_predicting_the_velocity_is_predicting_v_divided():
    """Flow matching's eps - x, from what v-prediction says of the same z: v = alpha eps - sigma x on other scales."""
    process, t = rectified_flow(), 0.3
    x, eps = X0_HAT, EPS_HAT
    z = (1 - t) * x + t * eps
    v = (1 - t) * eps - t * x
    np.testing.assert_allclose((v + (2 * t - 1) * z) / ((1 - t) ** 2 + t**2), eps - x, rtol=0, atol=1e-12)
    target = V.target(answer(process, t, EPS_HAT, EPS).seen, torch.from_numpy(x), torch.from_numpy(eps))
    np.testing.assert_allclose(target.numpy(), v, rtol=0, atol=1e-12)


# --- the page --------------------------------------------------------------------------------------------------

ENTRIES = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
LATER = [claim for claim in ledgers.read()["claims"] if claim["source"] == "Later"]


def test_every_entry_says_what_process_or_rule_it_is_and_whether_it_was_known():
    assert len(ENTRIES) >= 12
    for name, text in zip(ENTRIES, re.split(r"^### .+$", PAGE, flags=re.MULTILINE)[1:]):
        entry = text.partition("\n## ")[0]
        for field in ("In this notation", "Here", "Known before this book"):
            assert f"\n{field}\n: " in entry, (name, field)
        assert re.search(r"\{cite:t\}`\w+`", entry), name


def test_what_is_cited_is_in_the_bibliography():
    cited = {key for keys in re.findall(r"\{cite:[tp]\}`([\w,]+)`", PAGE) for key in keys.split(",")}
    keys = set(
        re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert cited
    assert cited <= keys


def test_the_table_fits_a_phone():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "{cite:t}" not in line]
    top = [re.sub(r"\]\([\w-]+\)", "", row) for row in rows if re.search(r"\| 20\d\d \|", row)]
    assert len(top) == len(ENTRIES)
    assert {row.count("|") for row in top} == {4}
    assert max(map(len, top)) <= 60
    assert all(re.search(r"\| (process|noise colour|schedule|sampler|learning|no method)", row) for row in top)
    # Each leads to its entry: a label stands before each heading of one.
    labels = re.findall(r"^\((since-[\w-]+)\)=\n### ", PAGE, re.MULTILINE)
    assert re.findall(r"^\| \[[^\]]+\]\(([\w-]+)\) \| 20", PAGE, re.MULTILINE) == labels


def test_claims_of_later_papers_and_the_page_lead_to_each_other():
    linked = set(re.findall(r'href="claims\.html#([\w-]+)"', PAGE))
    known = {claim["id"] for claim in ledgers.read()["claims"]}
    assert linked <= known
    assert {claim["id"] for claim in LATER} <= linked
