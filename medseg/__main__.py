"""`python -m medseg` is the same as `medseg`."""

from medseg.cli import main

main()
