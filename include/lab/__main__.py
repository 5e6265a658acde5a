"""``python -m include.lab``: the lab's command line."""

from include.lab.cli import main

main()
