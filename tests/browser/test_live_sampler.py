"""Trained networks that walk in the page, against PyTorch with the same noise."""

import base64
import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from figures import IMPORT, ask, control, drag_to, pixels, timers
from pages import TYPESET

from bdbook import guesses, samplers
from bdbook.denoiser import Denoiser, Spectral
from bdbook.oracle import Gaussian
from bdbook.page import live
from bdbook.page.widgets import LiveSampler
from bdbook.processes import EqualSNR

pytestmark = pytest.mark.browser

CHAPTER = "notebooks/16_live_sampler.html"
COUNT = 4
COLD = "fashion-from-mean"
WITH_NOISE = [recipe for recipe in live.SYSTEMS if recipe != COLD]
STATE = "[aria-label='Live sampler, interactive']"
# What a page does with the module itself: a network's answer, the start of a walk, and all of it.
KEPT = f"((source) => (globalThis.kept ??= ({IMPORT})(source)))"  # which keeps the runtime and the networks
ANSWER = f"""async ([source, recipe, images, times]) => {{
  const m = await {KEPT}(source), net = await m.network({{}}, recipe, 16);
  const answers = [];
  for (const t of times) answers.push(await net(images.map((x) => Float64Array.from(x)), t));
  return answers.map((answer) => answer.map((x) => Array.from(x))); }}"""
START = f"""async ([source, recipe, seed]) => {{
  const m = await {KEPT}(source), [told] = await m.files({{}}, [`walk-${{recipe}}`]);
  const x = m.starts(m.system(JSON.parse(new TextDecoder().decode(told))), seed, {COUNT});
  return x.map((image) => Array.from(image)); }}"""
WALK = f"""async ([source, recipe, options]) => {{
  const m = await {KEPT}(source), net = await m.network({{}}, recipe, 16);
  const [told] = await m.files({{}}, [`walk-${{recipe}}`]);
  const own = m.system(JSON.parse(new TextDecoder().decode(told)), net), x = m.starts(own, options.seed, {COUNT});
  const frames = [];
  for await (const frame of m.sampling({{ system: own, x, ...options }})) frames.push(frame);
  return {{ t: frames.map((f) => f.t), x: frames.map((f) => f.x.map((image) => Array.from(image))) }}; }}"""

# A walk of a network that is a formula, in float64 throughout.
BY_FORMULA = f"""async ([source, told, options]) => {{
  const m = await ({IMPORT})(source), x = m.starts(m.system(told), options.seed, {COUNT});
  const net = async (images, t) => images.map((image) => image.map((v) => 0.4 * Math.sin(3 * v + t)));
  const frames = [];
  for await (const frame of m.sampling({{ system: m.system(told, net), x, ...options }})) frames.push(frame);
  return frames.map((f) => f.x.map((image) => Array.from(image))); }}"""


def uniform(seed: int):
    """mulberry32, as js/core.js."""
    state = seed & 0xFFFFFFFF
    while True:
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        z = ((state ^ (state >> 15)) * (state | 1)) & 0xFFFFFFFF
        z ^= (z + ((z ^ (z >> 7)) * (z | 61) & 0xFFFFFFFF)) & 0xFFFFFFFF
        yield ((z ^ (z >> 14)) & 0xFFFFFFFF) / 2**32


def noise(seed: int, step: int) -> torch.Tensor:
    """What the page draws for the step that begins at number `step`, 0 for x_T: (COUNT, 1, 16, 16)."""
    planes = []
    for image in range(COUNT):
        numbers = uniform((seed * 0x9E3779B1 + image * 0x85EBCA6B + step * 0xC2B2AE35) & 0xFFFFFFFF)
        pairs = np.array([next(numbers) for _ in range(512)]).reshape(-1, 2)
        planes.append(np.sqrt(-2 * np.log(1 - pairs[:, 0])) * np.cos(2 * np.pi * pairs[:, 1]))
    return torch.tensor(np.stack(planes), dtype=torch.float32).reshape(COUNT, 1, 16, 16)


@torch.no_grad()
def walk(recipe: str, x: torch.Tensor, steps: int, rule: str, order: int, rho: float, seed: int) -> torch.Tensor:
    """The end of the same walk in PyTorch, from the page's x_T."""
    run, before = live.run_of(recipe), None
    denoiser, times = run.denoiser, run.denoiser.process.times(steps)
    if rule == "flow":  # draws nothing
        return samplers.last(samplers.sample(denoiser, x, times, run.flow(), order=order)).x
    chosen = samplers.partial_carry(rho) if rule == "carry" else samplers.rule(rule)
    for number, (t, s) in enumerate(samplers.pairs(times), 1):
        now = guess = denoiser.estimate(x, t)
        if order == 2 and before is not None:
            guess = guesses.Extrapolated(now, before, guesses.extrapolation(denoiser.process, before.seen.t, t, s))
        x = samplers.step(guess, t, s, chosen, noise(seed, number))
        before = now
    return x


def as_images(planes) -> torch.Tensor:
    return torch.tensor(planes, dtype=torch.float32).reshape(-1, 1, 16, 16)


def own_setting(recipe: str) -> dict:
    run = live.run_of(recipe)
    steps = min(50, run.denoiser.process.steps or 50)  # as the page has them before a reader moves anything
    return {"steps": steps, "rule": run.recipe.rule, "order": 1, "rho": 0.5}


@pytest.fixture
def chapter(request, book, serve, open_page):
    """The chapter of the built book, over http or from a file."""
    base = serve(book) if getattr(request, "param", "file") == "http" else book.as_uri()
    page = open_page(f"{base}/{CHAPTER}")
    page.evaluate(TYPESET)  # or the formulas above would move what the mouse is to take
    return page


def unfolded(page) -> None:
    """What is folded under each system is there for the mouse."""
    for summary in page.locator(f"{STATE} summary").all():
        summary.click()


def finished(page) -> None:
    page.wait_for_function(f"['done', 'failed'].includes(document.querySelector(\"{STATE}\").dataset.state)")
    assert page.locator(STATE).get_attribute("data-state") == "done", page.locator(
        f"{STATE} [role=status]"
    ).inner_text()


def shown(page, name: str) -> np.ndarray:
    """(COUNT, 16, 16) grey bytes of a canvas of four images with a line between them."""
    grey = pixels(page.locator(f'canvas[data-name="{name}"]'))[..., 0].astype(float)
    assert grey.shape == (33, 33)
    return np.stack([grey[:16, :16], grey[:16, 17:], grey[17:, :16], grey[17:, 17:]])


def as_shown(images: torch.Tensor) -> np.ndarray:
    return ((images[:, 0].double() + 1) * 127.5).clamp(0, 255).numpy()


WORDS = {"ancestral": "ancestral", "ddim": "DDIM", "naive": "naive", "tacos": "TACoS", "momentum": "momentum"}
WORDS |= {"ihdm": "IHDM", "flow": "flow", "carry": "part of DDIM's carry (0.50)"}


def note(page, side: str):
    """What is said of a side's rule, by which a screen reader describes it."""
    return page.locator(f"[id='{control(page, f'{side}-rule').get_attribute('aria-describedby')}']")


def check_side(page, side: str, setting: dict, seed: int) -> None:
    """The picture of a finished side is PyTorch's to a thousandth of the range, and rounding."""
    recipe = setting["recipe"]
    x = as_images(ask(page, START, [str(LiveSampler._esm), recipe, seed]))
    steps = min(setting["steps"], live.run_of(recipe).denoiser.process.steps or setting["steps"])
    expected = walk(recipe, x, steps, setting["rule"], setting["order"], setting["rho"], seed)
    assert np.abs(shown(page, f"{side}-x") - as_shown(expected)).max() <= 0.51 + 1e-3 * 127.5


def test_the_networks_in_the_page_are_pytorchs(chapter):
    random = torch.Generator().manual_seed(0)
    for recipe in live.SYSTEMS:
        x = torch.randn(3, 1, 16, 16, generator=random)
        times = [0.03, 0.6, 1.0]
        told = ask(chapter, ANSWER, [str(LiveSampler._esm), recipe, x.flatten(1).tolist(), times])
        for t, answer in zip(times, told, strict=True):
            with torch.no_grad():
                expected = live.run_of(recipe).denoiser.net(x, torch.full((3,), t))
            assert (as_images(answer) - expected).abs().max() < 1e-4
    assert chapter.external == []
    assert chapter.errors == []


def test_whole_walks_are_pytorchs(chapter):
    seed = 3
    settings = [(recipe, own_setting(recipe) | {"steps": 20}) for recipe in live.SYSTEMS]
    few = {"steps": 12, "order": 1, "rho": 0.7}
    settings += [("fashion-blurring", few | {"rule": rule}) for rule in ("carry", "ddim", "momentum", "ihdm", "naive")]
    settings += [(recipe, few | {"steps": 5, "rule": "flow"}) for recipe in WITH_NOISE]
    settings += [("fashion-blurring", few | {"rule": "flow", "order": 2})]
    settings += [("fashion-soft", few | {"rule": "ddim", "order": 2}), (COLD, few | {"rule": "naive"})]
    for recipe, setting in settings:
        told = ask(chapter, WALK, [str(LiveSampler._esm), recipe, {**setting, "seed": seed}])
        times = live.run_of(recipe).denoiser.process.times(setting["steps"])
        np.testing.assert_allclose(told["t"], times, atol=1e-15)
        expected = walk(recipe, as_images(told["x"][0]), seed=seed, **setting)
        assert (as_images(told["x"][-1]) - expected).abs().max() < 1e-3, (recipe, setting)
    white = told["x"][0]
    assert np.std(white) < 1, "cold diffusion begins flat"


@pytest.mark.parametrize("recipe", live.SYSTEMS)
def test_rules_that_draw_nothing_are_the_librarys_to_rounding(open_page, recipe):
    """With what the page was told of the data and, under equal SNR, of its noise, which it has in single precision."""
    known, told = live.run_of(recipe).denoiser, json.loads(live.read(f"walk-{recipe}"))
    process, predicts = known.process, known.predicts
    plane = [np.frombuffer(base64.b64decode(told[key]), "<f4").reshape(1, 1, 16, 16) for key in ("mean", "variance")]
    mean, variance = (torch.tensor(values).double() for values in plane)
    law = Gaussian(process.basis, variance, process.basis.forward(mean))
    if isinstance(predicts, Spectral):
        predicts = Spectral(law.mean, law.variance)
    if isinstance(process, EqualSNR):
        seen = np.frombuffer(base64.b64decode(told["settings"]["variance"]), "<f4").reshape(1, 16, 16)
        process = replace(process, variance=torch.tensor(seen))

    def formula(x, t):
        return 0.4 * torch.sin(3 * x + t.to(x).view(-1, 1, 1, 1))

    denoiser = Denoiser(formula, process, predicts)
    page = open_page("about:blank")
    rules = {"ddim": samplers.ddim, "flow": samplers.flow(law)}
    walks = [(5, 1), (5, 2), (20, 2)]
    if recipe == COLD:
        rules, walks = {"naive": samplers.naive, "tacos": samplers.tacos}, [(5, 1), (20, 1)]
    for (name, rule), (steps, order) in product(rules.items(), walks):
        setting = {"steps": steps, "rule": name, "order": order, "seed": 2}
        pages = ask(page, BY_FORMULA, [str(LiveSampler._esm), told, setting])
        start, *states = (torch.tensor(x, dtype=torch.float64).reshape(COUNT, 1, 16, 16) for x in pages)
        own = samplers.sample(denoiser, start, process.times(steps), rule, order=order)
        for state, step in zip(states, own, strict=True):
            assert (state - step.x).abs().max() < 1e-9, (name, steps, step.t)


def test_white_noise_of_a_seed_is_the_same_for_every_system(chapter):
    starts = [
        ask(chapter, START, [str(LiveSampler._esm), recipe, 8]) for recipe in ("fashion-ddpm", "fashion-blurring")
    ]
    np.testing.assert_allclose(starts[0], starts[1], atol=1e-12)
    np.testing.assert_allclose(as_images(starts[0]), noise(8, 0), atol=1e-6)


def test_it_opens_with_the_walk_that_these_settings_take(chapter):
    """Drawn by PyTorch and recorded: with no file loaded the pictures are those of the settings that are shown."""
    assert chapter.locator(STATE).get_attribute("data-state") == "recorded"
    assert chapter.evaluate("Object.keys(globalThis.bdbookPieces ?? {}).length") == 0, "nothing is loaded unasked"
    settings = [{"recipe": recipe, **own_setting(recipe)} for recipe in ("fashion-blurring", "fashion-ddpm")]
    recorded = [shown(chapter, f"{side}-x") for side in ("left", "right")]
    control(chapter, "t").press("End")
    np.testing.assert_allclose(shown(chapter, "left-x"), as_shown(noise(0, 0)), atol=0.51 + 0.13)  # half precision
    for side, setting, pictures in zip(("left", "right"), settings, recorded, strict=True):
        x = as_images(ask(chapter, START, [str(LiveSampler._esm), setting["recipe"], 0]))
        expected = walk(setting["recipe"], x, setting["steps"], setting["rule"], 1, 0.5, 0)
        assert np.abs(pictures - as_shown(expected)).max() <= 0.51 + 2e-3 * 127.5, side


@pytest.mark.parametrize("recipe", live.SYSTEMS)
def test_what_is_shown_is_what_ran(chapter, recipe):
    """Of each system every rule that is offered, on the left, with the least steps: the words, and the pictures."""
    page, known = chapter, live.offered(recipe)
    unfolded(page)
    control(page, "left-recipe").select_option(recipe)
    for rule in known["rules"]:
        control(page, "left-rule").select_option(rule)
        control(page, "left-steps").press("Home")
        timers(page, 250)  # after which a change is followed
        finished(page)
        setting = {"recipe": recipe, "rule": rule, "steps": 5, "order": 1, "rho": 0.5}
        check_side(page, "left", setting, 0)
        assert control(page, "left-rule").input_value() == rule
        summary = page.locator(f"{STATE} summary").first.inner_text()
        assert summary == f"{WORDS[rule]}, 5 steps"
    offered = control(page, "left-rule").locator("option").evaluate_all("(all) => all.map((each) => each.value)")
    assert offered == known["rules"]
    control(page, "left-steps").press("End")
    assert f"{known['most']} steps" in page.locator(f"{STATE} summary").first.inner_text()
    assert page.errors == []


def test_a_system_brings_its_own_rule_and_steps_unless_the_reader_chose_some(figure_page):
    page = figure_page([LiveSampler()])
    unfolded(page)

    def choose(recipe: str) -> tuple[str, str]:
        control(page, "left-recipe").select_option(recipe)
        return control(page, "left-rule").input_value(), page.locator(f"{STATE} summary").first.inner_text()

    assert choose(COLD) == ("tacos", "TACoS, 40 steps")
    assert choose("fashion-ddpm") == ("ancestral", "ancestral, 50 steps")
    assert choose("fashion-soft") == ("momentum", "momentum, 50 steps")
    control(page, "left-rule").select_option("flow")
    control(page, "left-order").select_option("2")
    control(page, "left-steps").press("Home")
    assert choose("fashion-equal-snr") == ("flow", "flow, 5 steps, order 2")
    assert choose(COLD) == ("tacos", "TACoS, 5 steps")
    assert not control(page, "left-order").is_visible()
    assert not control(page, "left-rho").is_visible()


@pytest.mark.parametrize("chapter", ["file", "http"], indirect=True)
def test_a_reader_samples_and_looks_back(chapter):
    page = chapter
    left, right = ({"recipe": recipe, **own_setting(recipe)} for recipe in ("fashion-blurring", "fashion-ddpm"))
    page.get_by_role("button", name="Draw again").press("Enter")
    finished(page)
    check_side(page, "left", left, seed=1)
    check_side(page, "right", right, seed=1)

    end = shown(page, "left-x")
    drag_to(page, "t", 0.6)
    t = float(control(page, "t").input_value())
    assert 0.5 < t < 0.7
    assert page.locator('canvas[data-name="left-x"]').get_attribute("aria-label").startswith("4 images z at t = 0.")
    assert np.abs(shown(page, "left-x") - end).mean() > 30, "noise"
    control(page, "t").press("End")
    np.testing.assert_allclose(shown(page, "left-x"), as_shown(noise(1, 0)), atol=0.51)
    control(page, "t").press("Home")
    np.testing.assert_array_equal(shown(page, "left-x"), end)

    control(page, "seed").press("ArrowRight")
    timers(page, 250)
    finished(page)
    check_side(page, "left", left, seed=2)
    page.get_by_role("button", name="Draw again").click()
    finished(page)
    assert control(page, "seed").input_value() == "3"
    check_side(page, "right", right, seed=3)
    unfolded(page)

    kept = shown(page, "right-x")
    control(page, "left-recipe").select_option(COLD)
    finished(page)
    check_side(page, "left", {**left, "recipe": COLD, "rule": "tacos", "steps": 40}, seed=3)
    assert "no noise, so its frequencies have no clocks" in note(page, "left").inner_text()
    np.testing.assert_array_equal(shown(page, "right-x"), kept)

    control(page, "right-rule").select_option("carry")
    control(page, "right-steps").fill("0.2")
    control(page, "right-rho").fill("0.9")
    control(page, "right-order").select_option("2")
    finished(page)
    steps = round(5 * 50**0.2)
    check_side(page, "right", {"recipe": "fashion-ddpm", "rule": "carry", "steps": steps, "order": 2, "rho": 0.9}, 3)
    assert note(page, "right").inner_text() == ""

    control(page, "right-rule").select_option("flow")
    control(page, "right-steps").press("Home")
    finished(page)
    check_side(page, "right", {"recipe": "fashion-ddpm", "rule": "flow", "steps": 5, "order": 2, "rho": 0.9}, 3)
    assert note(page, "right").inner_text().startswith("Each frequency steps by its own clock")
    chapter_18 = note(page, "right").get_by_role("link").evaluate("(link) => link.href")
    assert chapter_18.endswith("/notebooks/18_one_clock_per_frequency.html")

    page.get_by_role("button", name="Reset").click()
    finished(page)
    check_side(page, "left", left, seed=0)
    check_side(page, "right", right, seed=0)
    assert page.errors == []
    assert page.external == []


def test_five_steps_of_the_flow_rule_come_nearer_than_ddims(chapter):
    """To where the network's own flow takes the same starts, as the landing page says of other starts."""
    told, off = {}, {}
    for rule, steps, order in (("flow", 60, 2), ("ddim", 5, 1), ("flow", 5, 1)):
        setting = {"steps": steps, "rule": rule, "order": order, "seed": 5}
        frames = ask(chapter, WALK, [str(LiveSampler._esm), "fashion-blurring", setting])
        told[rule, steps] = as_images(frames["x"][-1]).clamp(-1, 1)
    for rule in ("ddim", "flow"):
        off[rule] = (told[rule, 5] - told["flow", 60]).square().mean().sqrt().item()
    assert off["flow"] < 0.8 * off["ddim"]


def test_the_landing_page_shows_five_calls(book, open_page):
    """Of either order the flow rule is nearer to the last row than DDIM, and pictures have their room at once."""
    for width, dark in ((1280, False), (360, True)):
        page = open_page((book / "book" / "index.html").as_uri(), width=width, dark=dark)
        rows = page.locator(".bd-walks .bd-walk")
        assert rows.count() == 5
        off = [float(text) for text in rows.locator(".bd-walk-off").all_inner_texts() if text]
        assert len(off) == 4
        assert off[2] < off[0], "the flow rule and DDIM, of first order"
        assert off[3] < off[1], "of second"
        for picture in rows.locator("img").all():
            box = picture.bounding_box()
            assert box["height"] == pytest.approx(box["width"] * 16 / 135, abs=1)
            assert picture.get_attribute("alt")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert "first 8 of seed 0" in page.locator(".bd-walks figcaption").inner_text()
        assert page.errors == []


def test_a_walk_can_be_stopped(chapter):
    page = chapter
    page.get_by_role("button", name="Draw again").click()
    page.get_by_role("button", name="Stop").click()
    assert page.locator(f"{STATE} [role=status]").inner_text() == "stopped"
    control(page, "t").press("Home")
    timers(page, 200)  # after which a change is followed
    assert page.locator(STATE).get_attribute("data-state") == "waiting", "it does not go on by itself"
    page.get_by_role("button", name="Draw", exact=True).click()
    finished(page)


def test_a_file_that_does_not_come_is_named_and_asked_for_again(chapter):
    page, piece = chapter, "**/weights-fashion-ddpm.0.js"
    page.context.route(piece, lambda route: route.abort())
    page.get_by_role("button", name="Draw again").click()
    page.wait_for_function(f"document.querySelector(\"{STATE}\").dataset.state === 'failed'")
    assert "weights-fashion-ddpm.0.js could not be loaded" in page.locator(f"{STATE} [role=status]").inner_text()
    page.context.unroute(piece)
    page.get_by_role("button", name="Draw", exact=True).click()
    finished(page)
    check_side(page, "right", {"recipe": "fashion-ddpm", **own_setting("fashion-ddpm")}, seed=1)


def test_under_a_kernel_python_gives_the_files(open_page, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html><meta charset=utf-8><title>x</title>", encoding="utf-8")
    page = open_page(f"{tmp_path.as_uri()}/index.html", own=True)
    kernel = "http://127.0.0.1/kernel/"  # where nothing listens but the test
    page.route(
        f"{kernel}*",
        lambda route: route.fulfill(
            body=live.read(route.request.url.removeprefix(kernel)), headers={"Access-Control-Allow-Origin": "*"}
        ),
    )
    told = ask(
        page,
        f"""async ([source, images]) => {{
        const m = await ({IMPORT})(source), hearers = new Set();
        const model = {{ on: (_, f) => hearers.add(f), off: (_, f) => hearers.delete(f),
          async send({{ file }}) {{
            const bytes = await (await fetch("{kernel}" + file)).arrayBuffer();
            for (const f of [...hearers]) f({{ file }}, [new DataView(bytes)]); }} }};
        const net = await m.network(model, "fashion-heat", 16);
        const out = (await net(images.map((x) => Float64Array.from(x)), 0.5)).map((x) => Array.from(x));
        return [out, hearers.size]; }}""",
        [str(LiveSampler._esm), torch.zeros(2, 256).tolist()],
    )
    with torch.no_grad():
        expected = live.run_of("fashion-heat").denoiser.net(torch.zeros(2, 1, 16, 16), torch.full((2,), 0.5))
    assert (as_images(told[0]) - expected).abs().max() < 1e-4
    assert told[1] == 0, "nobody goes on listening"
