"""TRL's RLOO on a workload of bench.py: `python trl_rloo.py FOLDER RESULT SETTINGS`, in the
environment of requirements-rloo.txt."""
import sys

from trl import RLOOConfig, RLOOTrainer
from trl_groups import main

if __name__ == '__main__':
    main(RLOOTrainer, RLOOConfig, *sys.argv[1:])
