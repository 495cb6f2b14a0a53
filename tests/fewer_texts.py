"""Of the packaged sentences and the human ratings, a part, read once for all runs.

The server of `warm.py` imports this, so that the runs that are forked from it read no more.
`test_main_job.py` reads everything."""
from functools import cache

from rlhf_nbdev.run import stages
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


stages.load_sentences, stages.read_ratings = fewer_sentences, fewer_ratings
fewer_sentences('train')
if ratings_path().is_file():
    fewer_ratings(None)
