"A judge that needs no lesson, and held-out prompts for it."
import numpy as np
import pandas as pd
from torch.utils.data import Subset

from rlhf_nbdev.dataset import IMDBDataset


class WordJudge:
    "Counts letters: praise is the share of e, fluency falls with length."
    def praise(self, texts):
        return np.array([text.count('e')/max(1, len(text)) for text in texts])

    def fluency(self, texts):
        return np.array([1/(1 + len(text)) for text in texts])

    def __call__(self, prompts, responses):
        whole = [prompt + response for prompt, response in zip(prompts, responses)]
        return self.praise(responses)*self.fluency(whole)


def count_tokens(tokens, mask):
    "A reward model."
    return mask.sum(1).float()


def held_out_prompts(tokenizer, path):
    "Four of twelve held-out prompts, from a CSV that is written to `path`."
    texts = [f'A film number {i}, seen.' for i in range(20)]
    pd.DataFrame({'text': texts, 'label': [0, 1]*10}).to_csv(path, index=False)
    return Subset(IMDBDataset(tokenizer, 'held_out', path, 5, 8), [1, 3, 4, 7])
