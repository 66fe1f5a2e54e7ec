"""Ports that nothing else has, for tests that start servers."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def three_in_a_row() -> Iterator[list[socket.socket]]:
    """Sockets bound to three successive free ports of the loopback address, closed in the end."""
    while True:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            sockets[0].bind(("127.0.0.1", 0))
            port = sockets[0].getsockname()[1]
            try:
                for above in (1, 2):
                    sockets[above].bind(("127.0.0.1", port + above))
            except (OSError, OverflowError):  # taken, or beyond the last
                continue
            yield sockets
            return


def first_of_three() -> int:
    """The first of three successive ports that were free a moment ago."""
    with three_in_a_row() as sockets:
        return sockets[0].getsockname()[1]
