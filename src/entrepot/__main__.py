"""`python -m entrepot` is the command line."""

from entrepot.cli.main import main

main()
