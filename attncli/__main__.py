"""`python -m attncli` is the command line."""

import sys

from attncli.cli import main

if __name__ == "__main__":
    sys.exit(main())
