"""The playground in the plane: points that the reader draws, two clocks, and a network that is trained in the page."""

import numpy as np
import traitlets

from bdbook.page.widgets.base import Slider, bundle, choice, number, whole

DATA = ("clusters", "moons", "ring", "spiral", "letters", "own")
SYSTEMS = ("equal_snr", "white", "blurring", "fine_first")
RULES = ("ddim", "flow")
MOST = 400  # points


class PointsPlayground(Slider):
    """Points in the plane, noised by one clock per axis, and drawn again by the exact denoiser and by a trained one.

    An axis plays a frequency's part: the first is the coarse, the second the fine. At 45 degrees they are those of the
    DCT of two pixels. The network is trained where the figure is seen, by the figure itself.

    Parameters
    ----------
    points : array or tensor (n, 2) in [-1, 1], 1 to 400 of them, or None for a preset; the reader may draw others.
    data : "clusters", "moons", "ring", "spiral", "letters", or "own", which `points` makes it.
    angle : of the coarse axis, degrees, -90 to 90.
    system : "equal_snr", "white" (cosine: the same noise on both axes), "blurring" (blurring diffusion, 20 px, of two
        pixels) or "fine_first".
    bend : -3 to 3; the clock of the fine axis is asked at t^p with p = 2^-bend: more than 0 puts it ahead.
    rule : of the sampler, "ddim" or "flow".
    steps : N, 1 to 50 calls of the denoiser, at equal steps of t from 1 to 0.
    t : time in [0, 1] at which the samples are marked on their ways.
    seed : of the noise, the network's first weights and what it is shown, 0 or more.
    link : name of a group of figures that share t and the number of steps.

    Raises traitlets.TraitError, at construction and at any later assignment, for values outside these ranges.
    """

    _esm = bundle("points.js")
    _heights = (1220, 2106)

    data, _check_data = choice("data", "clusters", DATA)
    angle, _check_angle = number("angle", 45.0, -90, 90, "an angle from -90 to 90 degrees")
    system, _check_system = choice("system", "equal_snr", SYSTEMS)
    bend, _check_bend = number("bend", 0.0, -3, 3, "a power from -3 (the fine clock behind) to 3 (ahead)")
    rule, _check_rule = choice("rule", "ddim", RULES)
    steps, _check_steps = whole("steps", 10, 1, 50, "1 to 50 steps")
    t, _check_t = number("t", 0.0, 0, 1, "a time in [0, 1]")
    seed, _check_seed = whole("seed", 0, 0, 2**31 - 1, "a whole number from 0 to 2^31 - 1")
    _points: traitlets.List[list[float]] = traitlets.List().tag(sync=True)  # [x, y] of each, where data is "own"

    def __init__(self, points=None, **settings):
        if points is not None:
            settings |= {"_points": _listed(points), "data": "own"}
        super().__init__(**settings)

    @property
    def points(self) -> np.ndarray:
        """The points that were drawn or given, (n, 2) in [-1, 1]; none where a preset is shown."""
        return np.reshape(np.array(self._points if self.data == "own" else [], dtype=np.float64), (-1, 2))


def _listed(points) -> list[list[float]]:
    """(n, 2) in [-1, 1] -> a list of [x, y]."""
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not 1 <= len(array) <= MOST:
        raise traitlets.TraitError(f"points has shape {array.shape}; expected (n, 2) with n from 1 to {MOST}")
    if not (np.isfinite(array).all() and np.abs(array).max() <= 1):
        raise traitlets.TraitError(
            f"points has values from {array.min():g} to {array.max():g}; expected [-1, 1]: subtract the middle of the "
            "points and divide by their largest distance from it"
        )
    return array.tolist()
