"""TRL's GRPO on a workload of bench.py: `python trl_grpo.py FOLDER RESULT SETTINGS`, in the
environment of requirements-rloo.txt. The loss is that of the paper, as ours is."""
import sys

from trl import GRPOConfig, GRPOTrainer
from trl_groups import main

if __name__ == '__main__':
    main(GRPOTrainer, GRPOConfig, *sys.argv[1:], loss_type='grpo', use_bias_correction_kl=False)
