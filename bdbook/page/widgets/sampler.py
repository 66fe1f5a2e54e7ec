"""The live sampler: the book's trained networks, walking in the page."""

import traitlets

from bdbook.page import live
from bdbook.page.widgets.base import Slider, bundle, choice, number, whole
from bdbook.page.widgets.one_step import RULES


class WalkSetting(traitlets.HasTraits):
    """One side of the live sampler: whose network, which rule, how many steps. What fits together, `complete` says."""

    recipe, _check_recipe = choice("recipe", "fashion-blurring", tuple(live.SYSTEMS))
    rule, _check_rule = choice("rule", "ancestral", (*RULES, "carry", "flow"))
    steps, _check_steps = whole("steps", 50, 5, 250, "5 to 250 steps")
    order, _check_order = whole("order", 1, 1, 2, "order 1 or 2")
    rho, _check_rho = number("rho", 0.5, 0, 1, "a part of DDIM's carry, in [0, 1]")


DEFAULT = "fashion-blurring"
SETTING = ("recipe", "rule", "steps", "order", "rho")


def complete(setting: dict) -> dict:
    """All of a side's setting, checked, from some of it: the rule and the steps are the system's own."""
    known = live.offered(WalkSetting(recipe=setting.get("recipe", DEFAULT)).recipe)
    whole_setting = WalkSetting(**({"recipe": DEFAULT, "rule": known["rule"], "steps": known["steps"]} | setting))
    told = {name: getattr(whole_setting, name) for name in SETTING}
    if told["rule"] not in known["rules"]:
        fitting = ", ".join(known["rules"])
        raise traitlets.TraitError(f"rule is {told['rule']}, which does not fit {told['recipe']}; expected {fitting}")
    for name, most in (("steps", known["most"]), ("order", known["order"])):
        if told[name] > most:
            raise traitlets.TraitError(f"{name} is {told[name]}; expected {most} or less of {told['recipe']}")
    return told


class LiveSampler(Slider):
    """Two walks of trained networks side by side, from the same noise, in the reader's browser.

    It opens with a walk that PyTorch took, with the settings that it shows. The networks come when a reader asks for
    more: in a built page from its `_static/live` folder, under a kernel from Python.

    Parameters
    ----------
    left, right : what each side walks, a dict of some of
        recipe : a key of `bdbook.page.live.SYSTEMS`;
        rule : a name from `bdbook.samplers.RULES`, "carry": `rho` times DDIM's carry, the rest of the noise fresh; or
            "flow": `bdbook.samplers.flow` of the spectrum that the network is preconditioned with. One that fits the
            system (`bdbook.page.live.offered`), by default the system's own;
        steps : 5 to 250, or to as many as the system's table has;
        order : 1, or 2 for a guess extrapolated from the last two (of "flow" what the network says);
        rho : of the rule "carry", in [0, 1].
    seed : of the noise, 0 to 99; the same noise on both sides.
    t : where on the walk the figure stands, 1 (noise) to 0 (the images).
    link : name of a group of figures that share the seed.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("sampler.js")
    _heights = (721, 1285)

    left = traitlets.Dict(complete({})).tag(sync=True)
    right = traitlets.Dict(complete({"recipe": "fashion-ddpm"})).tag(sync=True)
    seed, _check_seed = whole("seed", 0, 0, 99, "0 to 99")
    t, _check_t = number("t", 0.0, 0, 1, "a time in [0, 1]")
    size = traitlets.Int(16, read_only=True).tag(sync=True)
    systems = traitlets.Dict(live.SYSTEMS, read_only=True).tag(sync=True)

    _offered = traitlets.Dict({recipe: live.offered(recipe) for recipe in live.SYSTEMS}, read_only=True).tag(sync=True)
    _opening = traitlets.Dict(read_only=True).tag(sync=True)

    @traitlets.default("_opening")
    def _walks(self):
        from bdbook.page.opening import opening

        walks = {name: opening(getattr(self, name), self.seed) for name in ("left", "right")}
        return walks if all(walks.values()) else {}

    def __init__(self, **settings):
        super().__init__(**settings)
        self.on_msg(lambda figure, content, _: live.answer(figure, content))

    @traitlets.validate("left", "right")
    def _check_side(self, proposal):
        unknown = ", ".join(sorted(set(proposal.value) - set(SETTING)))
        if unknown:
            raise traitlets.TraitError(f"{proposal.trait.name} has {unknown}; expected some of {', '.join(SETTING)}")
        return complete(proposal.value)
