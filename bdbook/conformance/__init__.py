"""Somebody's function, compared with a paper's: does it do what is printed, and if not, which line is at fault?

report.py   calling it, comparing it, and what is said of it
kinds.py    the functions that can be compared: how each is called, what it should give
slips.py    the papers' listings line by line, and what is known to go wrong in them
calling.py  how such a function takes its arguments
"""

from bdbook.conformance.report import Report, check

__all__ = ["Report", "check"]
