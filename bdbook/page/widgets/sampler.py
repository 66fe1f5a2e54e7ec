"""The live sampler: the book's trained networks, walking in the page."""

import traitlets

from bdbook.page import live
from bdbook.page.widgets.base import Slider, bundle, choice, number, whole
from bdbook.page.widgets.one_step import RULES


class WalkSetting(traitlets.HasTraits):
    """One side of the live sampler: whose network, which rule, how many steps."""

    recipe, _check_recipe = choice("recipe", "fashion-blurring", tuple(live.SYSTEMS))
    rule, _check_rule = choice("rule", "ancestral", (*RULES, "carry", "flow"))
    steps, _check_steps = whole("steps", 50, 5, 250, "5 to 250 steps")
    order, _check_order = whole("order", 1, 1, 2, "order 1 or 2")
    rho, _check_rho = number("rho", 0.5, 0, 1, "a part of DDIM's carry, in [0, 1]")


SETTING = ("recipe", "rule", "steps", "order", "rho")


def complete(setting: dict) -> dict:
    """All of a side's setting, checked, from some of it."""
    whole_setting = WalkSetting(**setting)
    return {name: getattr(whole_setting, name) for name in SETTING}


class LiveSampler(Slider):
    """Two walks of trained networks side by side, from the same noise, in the reader's browser.

    The networks come through ONNX Runtime Web: in a built page from its `_static/live` folder, under a kernel from
    Python, on the first press of Sample.

    Parameters
    ----------
    left, right : what each side walks, a dict of some of
        recipe : a key of `bdbook.page.live.SYSTEMS`;
        rule : a name from `bdbook.samplers.RULES`, "carry": `rho` times DDIM's carry, the rest of the noise fresh; or
            "flow": `bdbook.samplers.flow` of the spectrum that the network is preconditioned with;
        steps : 5 to 250; a system with a table of fewer steps takes all of them;
        order : 1, or 2 for a guess extrapolated from the last two (of "flow" what the network says);
        rho : of the rule "carry", in [0, 1].
    seed : of the noise, 0 to 99; the same noise on both sides.
    t : where on the walk the figure stands, 1 (noise) to 0 (the images).
    link : name of a group of figures that share the seed.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("sampler.js")
    _heights = (852, 1648)

    left = traitlets.Dict(complete({})).tag(sync=True)
    right = traitlets.Dict(complete({"recipe": "fashion-ddpm"})).tag(sync=True)
    seed, _check_seed = whole("seed", 0, 0, 99, "0 to 99")
    t, _check_t = number("t", 1.0, 0, 1, "a time in [0, 1]")
    size = traitlets.Int(16, read_only=True).tag(sync=True)
    systems = traitlets.Dict(live.SYSTEMS, read_only=True).tag(sync=True)

    def __init__(self, **settings):
        super().__init__(**settings)
        self.on_msg(self._send_file)

    @traitlets.validate("left", "right")
    def _check_side(self, proposal):
        unknown = ", ".join(sorted(set(proposal.value) - set(SETTING)))
        if unknown:
            raise traitlets.TraitError(f"{proposal.trait.name} has {unknown}; expected some of {', '.join(SETTING)}")
        return complete(proposal.value)

    def _send_file(self, _, content, buffers):
        """Answer the page's wish for a file (js/assets.js)."""
        name = content.get("file", "")
        try:
            self.send({"file": name}, buffers=[live.read(name)])
        except (OSError, ValueError, ModuleNotFoundError) as error:
            self.send({"file": name, "error": str(error)})
