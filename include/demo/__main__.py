"""`python -m include.demo`, which `make demo` ends in."""

import sys

from include.demo.run import main

if __name__ == "__main__":
    sys.exit(main())
