"""``python -m convkit``: the command line."""

import sys

from convkit.cli import main

sys.exit(main())
