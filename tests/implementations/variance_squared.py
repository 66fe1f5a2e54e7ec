"""Lee Eq. 15 as printed, with blur."""

from right_lee_and_ihdm import A_bar, np


def marginal(i):
    return np.sqrt(A_bar[i - 1]), (1 - A_bar[i - 1]) ** 2
