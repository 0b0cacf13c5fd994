"""`python -m edge`: the program `satellite`."""

from edge.cli import main

main()
