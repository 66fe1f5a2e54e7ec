"""The network that the page computes (js/unet.js), against PyTorch's with the same weights."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch
from figures import IMPORT, ask

from bdbook.page import walks
from bdbook.page.widgets import LiveSampler
from bdbook.unet import UNet, UNetConfig

pytestmark = pytest.mark.browser

ANSWER = f"""async ([source, config, weights, images, t]) => {{
  const m = await ({IMPORT})(source), bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
  return Array.from(m.unet(config, m.decodeHalves(bytes))(Float32Array.from(images), t)); }}"""
DECODED = f"async ([source, all]) => Array.from((await ({IMPORT})(source)).decodeHalves(Uint8Array.from(all)))"
SMALL = UNetConfig(size=8, channels=8, multipliers=(1, 2), attention=(2,), head_dim=8)
CONFIGS = {
    "the book's kind": SMALL,
    "no attention": replace(SMALL, attention=()),
    "attention in the middle alone": replace(SMALL, attention=(), middle_attention=True),
    "two heads everywhere": replace(SMALL, attention=(1, 2), heads=2),
    "one level": replace(SMALL, multipliers=(1,), attention=()),
    "three levels, two blocks": replace(SMALL, multipliers=(1, 3, 2), blocks=2),
    "colour": replace(SMALL, in_channels=3, out_channels=3),
    "groups of one": replace(SMALL, channels=2, attention=()),
}


def at_work(config: UNetConfig) -> UNet:
    """A network whose every weight is at work, the zero-initialised ones too, in half precision."""
    torch.manual_seed(0)
    net = UNet(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).half())
    return net


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("count", [1, 3])
def test_its_answers_are_pytorchs(open_page, name, count):
    config = CONFIGS[name]
    net = at_work(config)
    x = torch.randn(count, config.in_channels, 8, 8)
    weights = base64.b64encode(walks.weights(net)).decode()
    for t in (0.0, 0.37):
        asked = [str(LiveSampler._esm), walks.network(net), weights, x.permute(0, 2, 3, 1).flatten().tolist(), t]
        told = np.reshape(ask(open_page("about:blank"), ANSWER, asked), (count, 8, 8, config.out_channels))
        with torch.no_grad():
            out = net(x, torch.full((count,), t)).permute(0, 2, 3, 1).numpy()
        assert np.abs(out).max() > 0.3
        np.testing.assert_allclose(told, out, atol=2e-5)


def test_weights_of_another_network_are_refused(open_page):
    weights = base64.b64encode(walks.weights(at_work(replace(SMALL, multipliers=(1, 3))))).decode()
    with pytest.raises(Exception, match=r"a network of \d+ parameters was given \d+; build the book again"):
        ask(open_page("about:blank"), ANSWER, [str(LiveSampler._esm), walks.network(UNet(SMALL)), weights, [0] * 64, 0])


def test_every_number_in_half_precision_is_read(open_page):
    """Signs, zeros and subnormal ones; infinities and what is no number occur in no network."""
    halves = np.arange(1 << 16, dtype="<u2").view("<f2")
    finite = halves[np.isfinite(halves)]
    told = ask(open_page("about:blank"), DECODED, [str(LiveSampler._esm), list(finite.tobytes())])
    np.testing.assert_array_equal(told, finite.astype(float))
