"""The command line of Ablax: `python launch.py --help`."""

import sys

from experiments import EXPERIMENTS
from experiments.engine.cli import leave, main

if __name__ == "__main__":
    leave(main(EXPERIMENTS, sys.argv[1:], prog="launch.py"))
