"""`python -m chargen` is `chargen`."""

from chargen.cli.main import main

main()
