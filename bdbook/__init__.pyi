from . import (
    adapters as adapters,
)
from . import (
    clocks as clocks,
)
from . import (
    cold as cold,
)
from . import (
    data as data,
)
from . import (
    degradations as degradations,
)
from . import (
    denoiser as denoiser,
)
from . import (
    evaluation as evaluation,
)
from . import (
    guesses as guesses,
)
from . import (
    learning as learning,
)
from . import (
    likelihood as likelihood,
)
from . import (
    losses as losses,
)
from . import (
    mixtures as mixtures,
)
from . import (
    oracle as oracle,
)
from . import (
    page as page,
)
from . import (
    pixels as pixels,
)
from . import (
    posteriors as posteriors,
)
from . import (
    priors as priors,
)
from . import (
    processes as processes,
)
from . import (
    recipes as recipes,
)
from . import (
    samplers as samplers,
)
from . import (
    schedules as schedules,
)
from . import (
    sweep as sweep,
)
from . import (
    timegrids as timegrids,
)
from . import (
    times as times,
)
from . import (
    training as training,
)
from . import (
    transforms as transforms,
)
from . import (
    unet as unet,
)
from .denoiser import (
    EPS as EPS,
)
from .denoiser import (
    LESS_BLURRED as LESS_BLURRED,
)
from .denoiser import (
    RESIDUAL as RESIDUAL,
)
from .denoiser import (
    STEP_MEAN as STEP_MEAN,
)
from .denoiser import (
    X0 as X0,
)
from .denoiser import (
    Denoiser as Denoiser,
)
from .denoiser import (
    Spectral as Spectral,
)
from .denoiser import (
    V as V,
)
from .evaluation import metrics as metrics
from .mixtures import Mixture as Mixture
from .oracle import Gaussian as Gaussian
from .page import plots as plots
from .page import widgets as widgets
from .processes import (
    Degradation as Degradation,
)
from .processes import (
    Process as Process,
)
from .processes import (
    blur_diffusion as blur_diffusion,
)
from .processes import (
    blurring_diffusion as blurring_diffusion,
)
from .processes import (
    cosine_diffusion as cosine_diffusion,
)
from .processes import (
    ddpm as ddpm,
)
from .processes import (
    equal_snr as equal_snr,
)
from .processes import (
    heat_dissipation as heat_dissipation,
)
from .processes import (
    soft_diffusion as soft_diffusion,
)
from .samplers import (
    analytic as analytic,
)
from .samplers import (
    ancestral as ancestral,
)
from .samplers import (
    ddim as ddim,
)
from .samplers import (
    flow as flow,
)
from .samplers import (
    ihdm as ihdm,
)
from .samplers import (
    last as last,
)
from .samplers import (
    lee_euler as lee_euler,
)
from .samplers import (
    matched as matched,
)
from .samplers import (
    momentum as momentum,
)
from .samplers import (
    naive as naive,
)
from .samplers import (
    partial_carry as partial_carry,
)
from .samplers import (
    sample as sample,
)
from .samplers import (
    step as step,
)
from .samplers import (
    tacos as tacos,
)
from .training import fit as fit
from .training import load_run as load_run
from .transforms import (
    DCT as DCT,
)
from .transforms import (
    Circle as Circle,
)
from .transforms import (
    Colour as Colour,
)
from .transforms import (
    Haar as Haar,
)
from .transforms import (
    Hartley as Hartley,
)
from .transforms import (
    Pixel as Pixel,
)
from .transforms import (
    Separable as Separable,
)
from .unet import UNet as UNet
from .unet import UNetConfig as UNetConfig

__version__: str
