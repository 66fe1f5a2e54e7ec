"""The playground of whole pictures: what its walks say, and what it refuses."""

import math
import re

import pytest
import traitlets
from test_widgets import programs

from bdbook import data, oracle, processes, samplers
from bdbook.page import widgets
from bdbook.page.widgets import Playground, compose
from bdbook.transforms import DCT

NUMBER = r"\d[\d,]*(?:\.\d+)?"


@pytest.mark.parametrize("title", compose.WALKS)
def test_each_sentence_of_a_walk_holds_where_it_is_said(title):
    walk = compose.WALKS[title]
    assert 5 <= len(walk) <= 8
    found = []
    for stage, setting in zip(walk, compose.staged(walk), strict=True):
        found.append(compose.error(**setting))
        assert stage.holds(found), (stage.say, found)
        assert not re.search(r"\d{2,}\.|\d,\d", stage.say), "numbers are computed"


def test_a_walk_is_told_with_its_numbers():
    told = {walk["title"]: walk["stages"] for walk in Playground().state()["_walks"]}
    assert list(told) == list(compose.WALKS)
    for title, stages in told.items():
        for stage, said in zip(compose.WALKS[title], stages, strict=True):
            assert "{" not in said["say"]
            if "{kl} nats" in stage.say:
                number = re.search(rf"({NUMBER}) nats", said["say"]).group(1)
                assert float(number.replace(",", "")) == pytest.approx(compose.error(**said["set"]), rel=5e-3)
            Playground(**said["set"])  # refuses what it does not know


def test_a_claim_that_does_not_hold_is_seen():
    assert not compose.WALKS["Five calls"][1].holds([2.0, 1.0])
    assert not compose.WALKS["One clock per frequency"][3].holds([100.0, 1.0, 1.0, 20.0])


def test_the_error_is_the_laboratorys():
    images = data.load("leaves", 32, channels=1, count=256)
    process = processes.soft_diffusion(32, sigma_max=7.5)
    law = oracle.Gaussian.fit(DCT(32), images)
    expected = law.sampler_error(process, process.times(12), samplers.momentum, order=2).kl.sum().item()
    setting = {"data": "leaves", "system": "soft", "sigma_max": 7.5, "rule": "momentum", "order": 2, "steps": 12}
    assert compose.error(**setting) == pytest.approx(expected, rel=1e-12)
    assert compose.error(data="leaves", system="heat", rule="flow") < 1e-9
    assert math.isinf(compose.error(system="heat", rule="naive"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data", "photo", 'data is "photo"; expected "photos" or "leaves". Did you mean "photos"'),
        ("system", "blurr", 'system is "blurr".*Did you mean "blur"'),
        ("sigma_max", 0.4, r"sigma_max is 0\.4; expected a blur of 0\.5 to 30 px"),
        ("kappa", float("nan"), "kappa is nan; expected a number from -3 to 3"),
        ("rule", "flows", 'Did you mean "flow"'),
        ("order", 3, "order is 3"),
        ("steps", 1, "steps is 1; expected 2 to 200 steps"),
        ("t", 1.1, r"t is 1\.1"),
    ],
)
def test_bad_values_are_refused(name, value, message):
    with pytest.raises(traitlets.TraitError, match=message):
        Playground(**{name: value})


def test_its_program_and_state_weigh_little():
    widgets.new_page()
    figure = Playground()
    html = figure.static_html()
    assert len(programs(html)) == 1
    shared = (widgets.bundle(name) for name in ("clocks.js", "laboratory.js", "walk.js"))
    own = len(figure._esm) - max(map(len, shared))
    assert own < 60_000
    assert len(html) < 250_000
    widgets.new_page()
