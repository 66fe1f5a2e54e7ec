"""What a page shows, a chapter's or a notebook's.

widgets/     interactive figures, each with a kernel and without
js/          their programs
plots.py     still figures; palette.py: one colour for each system; drawn.py: their numbers, and for dark pages
listing.py   the library's own source
recorded.py  the runs in results/; going_on.py: a notebook where they are missing
live.py      the networks that walk in the page; walks.py says what it needs to know
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["drawn", "listing", "live", "palette", "plots", "recorded", "walks", "widgets"]
)
