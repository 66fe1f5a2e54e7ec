"""Your own data: their spectrum, and what follows from it for a process, a rule and its steps.

found = spectra.of("my-pictures")
print(found)
print(spectra.advise(found, calls=10))
"""

from bdbook.spectra.advice import Advice, advise, as_dict
from bdbook.spectra.measure import Band, Spectrum, of
from bdbook.spectra.sources import Samples, samples

__all__ = ["Advice", "Band", "Samples", "Spectrum", "advise", "as_dict", "of", "samples"]
