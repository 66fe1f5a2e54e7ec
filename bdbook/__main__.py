"""python -m bdbook: the command `bdbook`."""

import sys

from bdbook.cli import main

if __name__ == "__main__":
    sys.exit(main())
