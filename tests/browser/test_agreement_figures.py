"""The figures and the library say the same: JavaScript against bdbook's own processes, bases, rules and laboratory."""

import itertools

import numpy as np
import pytest
import torch
from figures import IMPORT, ask

from bdbook import data, oracle, processes, samplers, schedules, transforms
from bdbook.page.widgets import BlurDiffusionSlider, CarrySlider, LaboratorySlider

pytestmark = pytest.mark.browser

BLUR = (
    """async ([source, size, kernelSigma, boundary, settings, times, image]) => {
  const core = await (IMPORT)(source), list = (a) => Array.from(a);
  const kernel = core.gaussianKernel(kernelSigma), basis = core.eigen(size, kernel, boundary), { values } = basis;
  const eigenvalues = Float64Array.from({ length: size * size }, (_, k) =>
    values[Math.floor(k / size)] * values[k % size]);
  const process = core.blurDiffusion({ eigenvalues, ...settings });
  const u = core.forward2(Float64Array.from(image), basis, basis, size, size);
  return { kernel: list(kernel), matrix: list(core.kernelMatrix(size, kernel, boundary)),
    eigenvalues: list(eigenvalues),
    beta: list(core.linearBeta(settings.steps)),
    f: Array.from({ length: settings.steps }, (_, k) =>
      core.blurExponent(k + 1, settings.steps, settings.fMax, settings.fType)),
    at: times.map((t) => {
      const alpha = process.alpha(t), mean = core.inverse2(u.map((v, k) => v * alpha[k]), basis, basis, size, size);
      return { alpha: list(alpha), sigma: list(process.sigma(t)), logSnr: list(process.logSnr(t)), mean: list(mean) };
    }) };
}"""
).replace("IMPORT", IMPORT)


@pytest.mark.parametrize(
    "settings",
    [
        {"f_max": 0.14, "f_type": "quartic", "kernel_sigma": 0.4, "steps": 1000, "boundary": "zero"},
        {"f_max": 0.6, "f_type": "log", "kernel_sigma": 0.8, "steps": 100, "boundary": "zero"},
        {"f_max": 0.3, "f_type": "linear", "kernel_sigma": 0.55, "steps": 250, "boundary": "symmetric"},
        {"f_max": 0.0, "f_type": "cubic", "kernel_sigma": 0.3, "steps": 500, "boundary": "zero"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [64, 9])
def test_blur_diffusion_agrees_with_python(open_page, settings, size):
    process = processes.blur_diffusion(size, **settings)
    photo = data.photograph("flower", size, channels=1)[None].double()
    times = [0.0, 0.02, 0.3, 0.5, 1.0]
    kernel = transforms.gaussian_kernel(settings["kernel_sigma"])
    steps, f_max, f_type = settings["steps"], settings["f_max"], settings["f_type"]
    told = ask(
        open_page("about:blank"),
        BLUR,
        [str(BlurDiffusionSlider._esm), size, settings["kernel_sigma"], settings["boundary"],
         {"fMax": f_max, "fType": f_type, "steps": steps}, times, photo.flatten().tolist()],
    )  # fmt: skip
    i = torch.arange(1, steps + 1)
    np.testing.assert_allclose(told["kernel"], kernel, rtol=1e-12)
    np.testing.assert_allclose(
        np.reshape(told["matrix"], (size, size)),
        transforms.kernel_matrix(size, kernel, settings["boundary"]),
        atol=1e-15,
    )
    np.testing.assert_allclose(told["beta"], schedules.linear_beta(steps), rtol=1e-12)
    np.testing.assert_allclose(told["f"], schedules.blur_exponent(i, steps, f_max, f_type), rtol=1e-12)
    np.testing.assert_allclose(told["eigenvalues"], process.basis.eigenvalues.flatten(), rtol=1e-10)
    for t, js in zip(times, told["at"], strict=True):
        np.testing.assert_allclose(
            js["alpha"], process.alpha(t).expand(1, 1, size, size).flatten(), rtol=1e-7, atol=1e-300
        )
        np.testing.assert_allclose(js["sigma"], process.sigma(t).expand(1, 1, size, size).flatten(), rtol=1e-7)
        np.testing.assert_allclose(np.reshape(js["mean"], (size, size)), process.mean(photo, t)[0, 0], atol=1e-9)
        if t > 0:
            snr = process.snr(t).expand(1, 1, size, size).flatten().numpy()
            np.testing.assert_allclose(np.exp(js["logSnr"])[snr > 1e-290], snr[snr > 1e-290], rtol=1e-7)


@pytest.mark.parametrize(("sigma", "boundary"), [(3.0, "zero"), (0.4, "zero"), (0.8, "symmetric")])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_the_eigenvectors_are_orthonormal_and_rebuild_the_matrix(open_page, sigma, boundary, n):
    values, forward = ask(
        open_page("about:blank"),
        f"""async ([source, n, sigma, boundary]) => {{ const core = await ({IMPORT})(source);
        const {{ values, forward }} = core.eigen(n, core.gaussianKernel(sigma), boundary);
        return [Array.from(values), Array.from(forward)]; }}""",
        [str(BlurDiffusionSlider._esm), n, sigma, boundary],
    )
    vectors, kernel = np.reshape(forward, (n, n)), transforms.gaussian_kernel(sigma)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(n), atol=1e-13)
    matrix = transforms.kernel_matrix(n, kernel, boundary)
    np.testing.assert_allclose(vectors.T @ np.diag(values) @ vectors, matrix, atol=1e-13)
    if boundary == "zero":
        assert (np.diff(values) <= 0).all()
        np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[::-1], atol=1e-13)


WALK = (
    """async ([source, size, setting, variance, rho]) => {
  const core = await (IMPORT)(source), count = Float64Array.from({ length: size * size }, () => 1);
  const { steps, order } = setting, rule = rho === null ? core.RULES[setting.rule] : core.partialCarry(rho);
  const walk = (lambda, variance) => core.finish(core.samplerError({
    process: core.namedProcess(setting, lambda), variance, steps, order, rule }));
  const result = walk(core.freq2(size, size), Float64Array.from(variance));
  const groups = core.distinct(core.freq2(size, size), Float64Array.from(variance));
  const grouped = walk(groups.lambda, groups.variance);
  return { ratio: Array.from(result.ratio), target: Array.from(result.target), errors: core.errors(result, count),
    grouped: core.errors(grouped, groups.count), modes: groups.count.reduce((a, b) => a + b) };
}"""
).replace("IMPORT", IMPORT)


def python_process(setting, size):
    if setting["process"] == "cosine":
        return processes.cosine_diffusion(transforms.DCT(size))
    blur = setting["process"].removeprefix("blurring_")
    return processes.blurring_diffusion(size, setting["sigma_max"], setting["d_min"], blur)


@pytest.mark.parametrize("rule", samplers.RULES)
def test_the_laboratory_agrees_with_python(open_page, rule):
    size, steps, page = 16, 30, open_page("about:blank")
    variance = data.power_law_variance(size)
    for process, order in itertools.product(("cosine", "blurring_sin2", "blurring_sin"), (1, 2)):
        setting = {"process": process, "sigma_max": 12.0, "d_min": 2e-3, "rule": rule, "order": order, "steps": steps}
        library = python_process(setting, size)
        error = oracle.Gaussian(library.basis, variance).sampler_error(
            library, library.times(steps), samplers.rule(rule), order=order
        )
        told = ask(page, WALK, [str(LaboratorySlider._esm), size, setting, variance.flatten().tolist(), None])
        np.testing.assert_allclose(told["ratio"], error.ratio.flatten(), rtol=1e-7, atol=1e-190)
        np.testing.assert_allclose(told["target"], error.target_variance.flatten(), rtol=1e-10)
        for name, expected in (("kl", error.kl), ("w2", error.w2)):
            total = expected.sum().item()
            assert told["grouped"][name] == pytest.approx(told["errors"][name], rel=1e-6)
            # The library takes a weight below 1e-100 for 0, so its KL is infinite where the page's is very large.
            assert told["errors"][name] == pytest.approx(total, rel=1e-6) or total == np.inf
        assert told["modes"] == size**2


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_a_part_of_ddims_carry_agrees_with_python(open_page, rho):
    size, setting = 8, {"process": "blurring_sin2", "sigma_max": 5.0, "d_min": 1e-3, "order": 1, "steps": 25}
    variance, library = data.power_law_variance(size), python_process(setting, size)

    def rule(process, t, s):
        _, sigma_t, _, sigma_s = process.coefficients(t, s)
        carry = rho * sigma_s / sigma_t
        return carry, torch.sqrt((sigma_s**2 - carry**2 * sigma_t**2).clamp_min(0))

    error = oracle.Gaussian(library.basis, variance).sampler_error(library, library.times(25), rule)
    told = ask(open_page("about:blank"), WALK, [str(CarrySlider._esm), size, setting, variance.flatten().tolist(), rho])
    np.testing.assert_allclose(told["ratio"], error.ratio.flatten(), rtol=1e-7)
