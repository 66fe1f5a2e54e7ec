"""bdbook: diffusion models that blur. One process, one step; see the book for the mathematics.

The everyday names, listed in __init__.pyi, are here, each imported when it is first used: `bdbook.sample`,
`bdbook.blurring_diffusion`, `bdbook.fit`. The modules are too: `bdbook.processes`, `bdbook.samplers`, `bdbook.data`.
"""

import lazy_loader

from bdbook import cores

__version__ = "0.2.0"

cores.prepare()  # before torch is imported, which the names below do

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
