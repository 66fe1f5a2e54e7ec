"""Recipes by name: `get("photos-blurring")`.

recipe.py     what a recipe is
pasted.py     processes of one's own in a run's record
book.py       the systems at book scale, minutes on two cores
ablations.py  one thing changed at a time
papers.py     the papers' systems at their own size, days on a GPU
"""

from bdbook.errors import unknown
from bdbook.recipes.ablations import ABLATIONS
from bdbook.recipes.book import BOOK
from bdbook.recipes.papers import PAPERS
from bdbook.recipes.recipe import COLOURS, STEPS, Recipe, of_process

# Enough for a sampler to run through every line, with a network that has learnt nothing.
SMOKE_SAMPLE_STEPS = 5

RECIPES = BOOK | ABLATIONS | PAPERS

__all__ = [
    "ABLATIONS",
    "BOOK",
    "COLOURS",
    "PAPERS",
    "RECIPES",
    "SMOKE_SAMPLE_STEPS",
    "STEPS",
    "Recipe",
    "get",
    "of_process",
]


def get(name: str) -> Recipe:
    """A recipe by name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
