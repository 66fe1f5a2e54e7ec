"""What checks the annotations of the core under the tests: those that say shapes, and no others.

The others are mypy's business. At run time the library takes more than they say (a list for a size, a name for a
process), and of what it does not take it says in its own words what it expected: tests read these words.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def says_a_shape(annotation: object) -> bool:
    """Whether a type is one of jaxtyping's, or has one in it."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(says_a_shape(part) for part in get_args(annotation))


def shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises where what it is given, or gives, has another shape than it says."""
    function.__annotations__ = {k: v for k, v in function.__annotations__.items() if says_a_shape(v)}
    return beartype(function) if function.__annotations__ else function
