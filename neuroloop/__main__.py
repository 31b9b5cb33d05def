"""``python -m neuroloop``: the same as the command."""

import sys

from neuroloop.stream.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
