"""What makes the runs short that are forked from the server of `warm.py`, which imports this.

They read fewer texts, and draw no curves: `test_main_job.py` and the runs of `test_train_chat.py`
that are not forked do."""
import matplotlib.pyplot as plt
from fewer_texts import read_fewer

from rlhf_nbdev.run import command, report


def no_curves(rows):
    return plt.figure()


read_fewer()
command.draw_curves = report.draw_curves = no_curves
