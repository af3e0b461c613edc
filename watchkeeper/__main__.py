"""`python -m watchkeeper`: the command, for whoever has the interpreter but not the path of the script."""

from watchkeeper.cli import main

main()
