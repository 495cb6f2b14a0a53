"""Of the packaged sentences and the human ratings a part, which is read once.

Reading them all takes longer than the rest of a small run; `test_main_job.py` does."""
from functools import cache

from rlhf_nbdev.run import dialogs, stages
from rlhf_nbdev.sft import load_sentences
from rlhf_nbdev.tools.ratings import ratings_path, read_ratings


@cache
def fewer_sentences(split):
    return load_sentences(split)[::10]


@cache
def fewer_rows(path):
    return read_ratings(path)[::20].reset_index(drop=True)


def fewer_ratings(path):
    "As `read_ratings`; where it raises, nothing is kept."
    return fewer_rows(path or ratings_path())


def read_fewer():
    "From here on, runs of this process and of its forks read no more."
    stages.load_sentences = dialogs.load_sentences = fewer_sentences
    stages.read_ratings = fewer_ratings
    fewer_sentences('train')
    if ratings_path().is_file():
        fewer_ratings(None)
