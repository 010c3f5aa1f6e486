"""`python -m jbatch` is `jbatch`."""

import sys

from jbatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
