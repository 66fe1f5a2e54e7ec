"""What an error advises can be done, and helps: it is taken out of the message and followed."""

import ast
import contextlib
import io
import re
import shlex
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
import record
import torch

import bdbook
from bdbook import (
    adapters,
    cold,
    data,
    denoiser,
    losses,
    oracle,
    priors,
    processes,
    recipes,
    samplers,
    timegrids,
    training,
    transforms,
)
from bdbook.cli import COMMANDS, main
from bdbook.evaluation import restoration, tiling
from bdbook.page import recorded
from bdbook.sweep import cluster
from bdbook.sweep import points as grid
from bdbook.training import cost, engine, profiles, runs
from bdbook.unet import UNet, UNetConfig

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "bdbook").rglob("*.py"))
TRAIN = ("--profile", "smoke", "--batch", "2", "--steps", "2")
# Names that advice is written with.
NAMES = {name: getattr(bdbook, name) for name in bdbook.__all__} | {
    "cosine_diffusion": processes.cosine_diffusion,
    "ddpm": processes.ddpm,
    "runs": runs,
}


def said(call, pattern: str, kind: type[Exception] = ValueError) -> str:
    """The part of an error's words that the pattern's group takes out; the error comes whenever this is called."""
    with pytest.raises(kind) as raised:
        call()
    found = re.search(pattern, str(raised.value))
    assert found is not None, str(raised.value)
    return found[1]


def written(code: str, **names):
    """The value of code that a message shows."""
    return eval(code, NAMES | names)


# --- the mathematics ------------------------------------------------------------------------------------------

X = torch.zeros(2, 1, 8, 8)
PICTURES = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
SNOW = cold.degradation("snow", 8, 1).draw(2, torch.Generator().manual_seed(0))


def nothing(x, t):
    return torch.zeros_like(x)


def test_grids_of_a_process():
    def walk(times, process):
        return samplers.last(samplers.sample(denoiser.Denoiser(nothing, process), X, times, "ddim"))

    process = processes.ddpm()
    code = said(lambda: walk([0.0, 1.0], process), r"e\.g\. (process\.times\(250\))")
    walk(written(code, process=process), process)
    code = said(lambda: process.alpha(0.50031), r"\((process\.times\(n\))")
    assert process.alpha(written(code, process=process, n=7)[1].item()).isfinite()
    code = said(lambda: timegrids.log_snr(process, 4), r"use (process\.times\(steps\))")
    walk(written(code, process=process, steps=4), process)


def test_sizes_and_bases():
    code = said(lambda: transforms.DCT(8).forward(torch.zeros(1, 1, 8, 10)), r"make it with (size=\(.*?\))")
    transforms.DCT(**written(f"dict({code})")).forward(torch.zeros(1, 1, 8, 10))
    spectrum = oracle.Gaussian(transforms.DCT(8), torch.ones(1, 1, 8, 8))
    code = said(lambda: spectrum.denoiser(processes.ddpm()), r"make it with basis=(DCT\(.*?\)\))")
    spectrum.denoiser(processes.ddpm(basis=written(code, DCT=transforms.DCT)))
    blur = processes.blur_diffusion(8)
    said(lambda: spectrum.denoiser(blur), "(measure the spectrum in the process's basis)")
    oracle.Gaussian.fit(blur.basis, PICTURES).denoiser(blur)
    code = said(lambda: denoiser.Denoiser(nothing, "blurring_diffusion"), r"give (processes\.\w+\(size\))")
    denoiser.Denoiser(nothing, written(code, size=8))
    code = said(lambda: denoiser.Denoiser(nothing, 3), r"such as (processes\.ddpm\(\))")
    denoiser.Denoiser(nothing, written(code))


def test_kernels():
    code = said(lambda: processes.blur_diffusion(8, kernel=(1 / 3, 1 / 3, 1 / 3)), r"e\.g\. (kernel_sigma=0\.4)")
    processes.blur_diffusion(8, **written(f"dict({code})"))
    said(lambda: processes.blur_diffusion(8, kernel=(-0.1, 1.2, -0.1)), r"(not negative, with sum 1)")
    processes.blur_diffusion(8, kernel=(0.1, 0.8, 0.1))
    code = said(lambda: cold.degradation("inpainting", 8, where="random", colour=True), "use (where='centre')")
    cold.degradation("inpainting", 8, colour=True, **written(f"dict({code})"))


def test_predictions():
    code = said(lambda: denoiser.prediction("spectral"), r"give (.*\.prediction\(\))")
    written(code, basis=transforms.DCT(8), images=PICTURES)
    heat = processes.heat_dissipation(8, sigma_max=1e3)
    advised = said(lambda: denoiser.Denoiser(nothing, heat, "eps")(X, 1.0), r"Predict (.*?), or use")
    for name in re.split(", | or ", advised):
        predicts = oracle.Gaussian.fit(heat.basis, PICTURES).prediction() if name == "spectral" else name
        denoiser.Denoiser(nothing, heat, predicts).estimate(X, 1.0).x0_hat  # noqa: B018
    denoiser.Denoiser(nothing, processes.blurring_diffusion(8, sigma_max=1e3), "eps")(X, 1.0)
    advised = said(lambda: denoiser.Denoiser(nothing, SNOW, "eps")(X, 1.0), r"predict (x0 or residual)")
    for name in advised.split(" or "):
        denoiser.Denoiser(nothing, SNOW, name)(X, 1.0)
    heat = processes.heat_dissipation(8)
    knows_one_step = denoiser.Denoiser(nothing, heat, "less_blurred")
    said(
        lambda: samplers.step(knows_one_step.estimate(X, 0.5), 0.5, 0.4, samplers.ihdm(), X),
        r"use (process\.times\(\))",
    )
    walk = samplers.sample(knows_one_step, X, heat.times(), samplers.ihdm(0.01))
    next(walk)
    code = said(lambda: denoiser.Denoiser(lambda x, t: (x,), "ddpm")(X, 0.5), r": (adapters\.from_diffusers\(net\))")
    denoiser.Denoiser(written(code, net=lambda x, t: (x,)), processes.ddpm())(X, 0.5)


def test_rules():
    cool = processes.heat_dissipation(8, noise=0.0)
    advised = said(lambda: samplers.ancestral(cool, 0.5, 0.4), r"use (tacos or naive)")
    for name in advised.split(" or "):
        samplers.rule(name)(cool, 0.5, 0.4)
    advised = said(lambda: samplers.ancestral(SNOW, 1.0, 0.5), r"the rules (tacos or naive)")
    for name in advised.split(" or "):
        samplers.last(samplers.sample(denoiser.Denoiser(nothing, SNOW, "x0"), X, SNOW.times(2), name))
    answer = denoiser.Denoiser(nothing, "ddpm").estimate(X, 0.5)
    said(lambda: samplers.step(answer, 0.5, 0.4, samplers.ancestral), "(pass white noise like x_t)")
    samplers.step(answer, 0.5, 0.4, samplers.ancestral, torch.randn_like(X))
    said(lambda: samplers.step(answer, 0.8, 0.4, "ddim"), "(estimate again)")
    samplers.step(denoiser.Denoiser(nothing, "ddpm").estimate(X, 0.8), 0.8, 0.4, samplers.ddim)


def test_what_is_drawn():
    random = torch.Generator().manual_seed(0)
    for name, settings in (("snow", {}), ("inpainting", {"where": "random"})):
        made = cold.degradation(name, 16, 3, **settings)
        x = torch.zeros(2, 3, 16, 16)
        code = said(lambda made=made, x=x: made.mean(x, 0.5), r"use (draw\(count, generator\))")
        drawn = written(f"made.{code}", made=made, count=2, generator=random)
        drawn.mean(x, 0.5)
    more = torch.zeros(3, 3, 16, 16)
    snow = cold.degradation("snow", 16, 3).draw(2, random)
    code = said(lambda: snow.mean(more, 0.5), r"again with (draw\(len\(x\), generator\))")
    written(f"made.{code}", made=snow, x=more, generator=random).mean(more, 0.5)


def test_priors_losses_and_bounds():
    blur, pictures = cold.degradation("blur", 16, steps=1), torch.rand(300, 1, 16, 16)
    code = said(lambda: priors.fitted(blur, pictures), r"blur: (to_mean=True, boundary='circular')")
    priors.fitted(cold.degradation("blur", 16, steps=1, **written(f"dict({code})")), pictures)
    code = said(lambda: priors.fitted(blur, pictures), r"start from (priors\.blurred_data)")
    written(code)(blur, pictures, 0.0)(2, torch.Generator())
    noise, t = torch.randn_like(X), torch.full((2,), 0.5)
    blurry = processes.heat_dissipation(8, sigma_max=1e3)
    name = said(
        lambda: losses.LOSSES["bound"](denoiser.Denoiser(nothing, blurry, "x0"), X, t, noise), r"use the (\w+) loss"
    )
    assert losses.LOSSES[name](denoiser.Denoiser(nothing, blurry, "x0"), X, t, noise).isfinite().all()


def test_adapters():
    code = said(lambda: adapters.to_diffusers(denoiser.Denoiser(nothing, "cosine_diffusion")), r"e\.g\. (steps=1000)")
    adapters.to_diffusers(denoiser.Denoiser(nothing, "cosine_diffusion"), **written(f"dict({code})"))
    said(lambda: adapters.to_diffusers(denoiser.Denoiser(nothing, "ddpm"), steps=7), "(leave it out)")
    adapters.to_diffusers(denoiser.Denoiser(nothing, "ddpm"))


def test_networks():
    net = UNet(UNetConfig(size=16, channels=8, multipliers=(1, 2, 4), blocks=1, attention=(), head_dim=8))
    sizes = said(lambda: net(torch.zeros(1, 1, 18, 21), torch.zeros(1)), r"multiples of 4\. (.*?) would do")
    for size in sizes.split(" or "):
        height, width = map(int, size.split("x"))
        net(torch.zeros(1, 1, height, width), torch.zeros(1))


@pytest.mark.parametrize(
    ("call", "use"),
    [
        (lambda: samplers.rule("dimm"), samplers.rule),
        (lambda: recipes.get("photo-ddpm"), recipes.get),
        (lambda: profiles.resolve("cup"), profiles.resolve),
        (lambda: processes.process("DDPM"), processes.process),
        (lambda: cold.degradation("snows", 16, 3), lambda name: cold.degradation(name, 16, 3)),
        (lambda: data.load("foto", 8, count=2), lambda name: data.load(name, 8, count=2)),
        (lambda: engine.current_engine("cpu", "fp23"), lambda name: engine.current_engine("cpu", name)),
    ],
)
def test_the_name_that_was_meant(call, use):
    use(said(call, r"did you mean '(.*?)'"))


# --- data, runs and devices -----------------------------------------------------------------------------------


def test_counts_of_images():
    said(lambda: data.load("digits", 8, count=10**6), "(lower count or leave it out)")
    assert len(data.load("digits", 8)) > len(data.load("digits", 8, count=9)) == 9
    said(lambda: data.load("photos", 999, count=1), "(choose a smaller size)")
    data.load("photos", 32, count=1)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Run folders of images, a process and a network of one's own."""
    folder = tmp_path_factory.mktemp("own")
    few = {"profile": "smoke", "steps": 1, "batch": 2}
    process, images = processes.cosine_diffusion(basis=transforms.DCT(16)), torch.zeros(4, 1, 16, 16)
    net = torch.nn.Conv2d(1, 1, 1)

    class Ours(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, t):
            return self.net(x)

    class Mine(processes.ddpm):
        pass

    training.fit(process, images, folder / "net", net=Ours(), **few)
    training.fit(Mine(), images, folder / "process", **few)
    return {"folder": folder, "images": images, "net": Ours(), "process": Mine()}


@pytest.mark.parametrize("missing", ["net", "process"])
def test_runs_of_ones_own(own, missing):
    folder = own["folder"] / missing
    code = said(lambda: runs.load(folder), r"give it: (load_run\(folder, \w+=\w+\))")
    run = written(code, folder=folder, net=own["net"], process=own["process"])
    mine = {missing: own[missing]}
    code = said(run.images, r"again: (load_run\(folder, images=images\))")
    again = written(code[:-1] + f", {missing}=given)", folder=folder, images=own["images"], given=mine[missing])
    assert again.images().shape == own["images"].shape


def test_a_run_of_another_version_says_which(tmp_path, own):
    from bdbook.training import checkpoints

    found = checkpoints.found(own["folder"] / "net")
    path, tensors, header = checkpoints.newest_whole(found)
    header["record"]["recipe"]["gained_since"] = 1
    content = checkpoints._encode(tensors, header["record"], header["step"])
    (tmp_path / path.name).write_bytes(content)
    said(lambda: runs.load(tmp_path / path.name, net=own["net"]), "read it with the (version) that is in its record")
    assert header["record"]["versions"]["bdbook"] == bdbook.__version__


def test_profiles_and_devices(monkeypatch):
    if not torch.cuda.is_available():
        name = said(lambda: profiles.device("gpu"), r"use profile (\w+)")
        assert profiles.device(name).type == "cpu"
        assert main(shlex.split(said(lambda: profiles.device("gpu"), "see bdbook (doctor)"))) == 0
        said(lambda: cost.budget(recipes.get("digits-ddpm"), "cuda"), r"(use cpu)")
    monkeypatch.setenv(profiles.SHARE, "7")
    monkeypatch.setenv(profiles.SHARE, said(profiles._share, r"such as ([\d.]+)"))
    assert profiles._share() == 0.25
    recipe = replace(recipes.get("digits-ddpm"), batch=6, accumulate=3)
    from bdbook.training import loop

    two = type("Two", (), {"processes": 2})()
    recipe = replace(recipe, batch=9)
    share = said(lambda: loop._share(recipe, two), r"choose a multiple of (\d+)")
    assert loop._share(replace(recipe, batch=2 * int(share)), two) == 2


def test_a_compiler_is_asked_for_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.chdir(tmp_path)
    command = ["train", "--recipe", "digits-ddpm", "--out", "run", *TRAIN]
    assert main([*command, "--compile"]) == 2
    told = capsys.readouterr().err
    assert "no-such-compiler, which CXX names, and none was found" in told
    assert list(tmp_path.iterdir()) == []
    assert "leave out --compile" in told
    assert main(command) == 0
    (tmp_path / "bin").mkdir()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    variable = said(lambda: engine.current_engine("cpu", None, True), r"or name yours in (\w+)")
    (tmp_path / "bin" / "mine").touch(0o755)
    monkeypatch.setenv(variable, "mine")
    assert engine.current_engine("cpu", None, True).compiler == "inductor"


def test_the_learning_rate_can_be_lowered(tmp_path):
    assert main(["train", "--out", str(tmp_path / "a"), *TRAIN, "--learning-rate", "1e-5", "--warmup", "7"]) == 0
    recipe = runs.load(tmp_path / "a").recipe
    assert (recipe.learning_rate, recipe.warmup) == (1e-5, 7)


# --- restorations, recorded runs, sweeps ----------------------------------------------------------------------


def test_restorations():
    run = runs.load(recorded.folder_of("photos-sharpen"))
    for name in sorted(cold.FACTORIES.keys() - {"blur"}):
        with pytest.raises(ValueError, match=f"not for {name}; ") as raised:
            tiling.require_degradation(run, name)
        found = re.search(r"bdbook train --recipe (\S+)", str(raised.value))
        assert (found is None) == (name == "dct_blur"), "there is a recipe for each of the others"
        if found is not None:
            assert recipes.get(found[1]).build_process().name == name
    recipe = said(
        lambda: tiling.restore(runs.load(recorded.folder_of("photos-ddpm")), PICTURES[0]), r"e\.g\. (photos-[a-z]+)"
    )
    tiling.restore(runs.load(recorded.folder_of(recipe)), torch.zeros(1, 32, 32), steps=1)
    steps = said(lambda: restoration.walk_times(run.denoiser, 10**4), r"there are 1 to (\d+) steps")
    restoration.walk_times(run.denoiser, int(steps))


def test_recorded_runs():
    command = said(lambda: recorded.read("fashion-ddpm", seed=77), r"checkout of the book: python (.*)")
    script, *options = shlex.split(command)
    assert (ROOT / script).is_file()
    known = {f"--{each.name.replace('_', '-')}" for each in fields(record.Record)}
    assert {option for option in options if option.startswith("--")} <= known


def test_what_sweeps_advise(tmp_path, capsys):
    text = said(lambda: grid.points({"vary": {"seed": [0]}}), r"add e\.g\. (recipe: [\w-]+)")
    key, value = text.split(": ")
    grid.points({key: value, "vary": {"seed": [0]}})
    code = said(lambda: grid.points({key: value}), r"e\.g\. seed: (\[.*?\])")
    (point, _) = grid.points({key: value, "vary": {"seed": written(code)}, "training_steps": 2})
    folder = tmp_path / "seed=0"
    file = folder / "checkpoints" / "step-00000009.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    said(lambda: cluster.run([point], tmp_path), "Ask for the same (training_steps)")
    cluster._require_same_trainings([replace(point, steps=9)], tmp_path)
    said(lambda: cluster.run([point], tmp_path), "choose another (--out)")
    cluster._require_same_trainings([point], tmp_path / "another")


# --- every option, command, target and extra that any message names -------------------------------------------


def helped(*command: str) -> str:
    """What a command says of itself, in long lines."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        main([*command, "--help"])
    return told.getvalue()


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    return {command: set(re.findall(r"(?<![\w-])--[a-z][\w-]*", helped(command))) for command in COMMANDS}


def messages() -> list[tuple[str, str]]:
    """(place, text) of each string of the library that is no docstring, what is put into it left out as {}."""
    found = []
    for path in LIBRARY:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner, docs = set(), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                inner |= {id(value) for value in node.values}
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                docs.add(id(node.value))
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | docs:
                text = node.value
            if text:
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", text))
    return found


MESSAGES = messages()
# Other programs, whose options these are not: each with those that messages name.
OTHERS = {
    r"ray start .*?(?=`|$)": {"--head"},
    r"pip install .*": {"--force-reinstall", "--no-deps"},
    r"hf download .*": {"--repo-type", "--local-dir"},
    r"xcode-select .*?(?=\)|$)": {"--install"},
    r"python results/record\.py.*": {f"--{each.name.replace('_', '-')}" for each in fields(record.Record)},
}


def test_options_exist(options):
    every = set().union(*options.values()) | {"--help", "--version"}
    seen = 0
    for place, text in MESSAGES:
        if re.fullmatch(r"--?[\w-]+(=.*)?", text) and "cli" not in place:
            continue  # an argument that the library itself gives to a program
        text = re.sub(r"var\(--[\w-]+\)|--[\w-]+:", "", text)  # of a style sheet
        for program, known in OTHERS.items():
            for command in re.findall(program, text):
                assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", command)) <= known, f"{place}: {command}"
            text = re.sub(program, "", text)
        for command, rest in re.findall(r"\bbdbook ([a-z]+)((?: --?[\w-]+(?: [^\s-]\S*)?)*)", text):
            if command in options:
                assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)) <= options[command], f"{place}: {text}"
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))
        assert named <= every, f"{place}: {named - every} are options of no command"
        seen += len(named)
    assert seen > 5


def test_commands_exist():
    seen = 0
    for place, text in MESSAGES:
        for command in re.findall(r"(?:`bdbook|(?:^|: +|see |run |-m )bdbook) ([a-z]+)", text):
            assert command in COMMANDS, f"{place}: {text}"
            seen += 1
    assert seen >= 3


def test_targets_exist():
    targets = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {word for line in targets for word in line.split()}
    for place, text in MESSAGES:
        for target in re.findall(r"(?:`|: )make ([a-z][a-z-]+)", text):
            assert target in targets, f"{place}: {text}"


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {(place, extra) for place, text in MESSAGES for extra in re.findall(r"bdbook\[(\w+)\]", text)}
    assert {extra for _, extra in named} <= extras.keys()
    assert len(named) >= 3


def test_variables_exist():
    """BDBOOK_... in a message is one that something reads."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in LIBRARY)
    for place, text in MESSAGES:
        for name in re.findall(r"\bBDBOOK_[A-Z_]+", text):
            assert re.search(rf'["\']{name}["\']', code), f"{place}: nothing reads {name}"
