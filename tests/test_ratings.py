"The human ratings: one place, one content; shares and the ceiling by hand."
import numpy as np
import pytest
import torch

from rlhf_nbdev.tools import ratings


def histograms(raters):
    "(K, 9): the share of each text's raters who gave −4, −3, … 4."
    rows = [torch.bincount(torch.tensor(each) + 4, minlength=9)/len(each) for each in raters]
    return torch.stack(rows)


def test_ratings_have_one_place(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    assert ratings.ratings_path() == tmp_path/'.cache'/'rlhf_nbdev'/ratings.RATINGS_FILE
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'x'))
    assert ratings.ratings_path() == tmp_path/'x'/'rlhf_nbdev'/ratings.RATINGS_FILE


def test_ratings_that_are_missing_or_others_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    for path in (None, str(tmp_path/'nowhere')):
        with pytest.raises(FileNotFoundError, match='rlhf-ratings'):
            ratings.read_ratings(path)
    (tmp_path/'other').write_text('no')
    with pytest.raises(ValueError, match='is not the'):
        ratings.read_ratings(str(tmp_path/'other'))


def test_shares_are_those_of_all_pairs_of_raters():
    raters = [[-4, 0, 2], [0, 0, 4], [1, 1, 1]]

    def share(x, y):
        return np.mean([(a > b) + 0.5*(a == b) for a in x for b in y])

    by_hand = torch.tensor([[share(x, y) for y in raters] for x in raters], dtype=torch.float32)
    shares = ratings.preference_shares(histograms(raters))
    torch.testing.assert_close(shares, by_hand, rtol=0, atol=1e-6)


def test_shares_are_exact_under_autocast():
    some = histograms([[-4, 0, 2], [0, 0, 4], [1, 1, 2]])
    with torch.autocast('cpu', torch.bfloat16):
        shares = ratings.preference_shares(some)
    # a text against itself: 0.5, and not 0.498, which would count as decided
    torch.testing.assert_close(shares, ratings.preference_shares(some), rtol=0, atol=1e-6)


def test_the_ceiling_of_those_who_agree_is_one():
    assert ratings.human_ceiling([[2, 2, 2], [-1, -1, -1]], n=200) == 1


def test_the_ceiling_counts_only_pairs_that_are_far_enough_apart():
    texts = [[2, 2], [0, 0], [-3, -3], [2, 0]]
    assert ratings.human_ceiling(texts, least=4.5, n=50) == 1  # only the pair 5 apart


def test_the_ceiling_depends_on_the_seed_alone():
    texts = [[2, -1, 0], [0, 1, -2]]
    first, again = (ratings.human_ceiling(texts, n=300, seed=1) for _ in range(2))
    assert first == again


def test_the_ceiling_of_those_who_do_not_agree():
    x, y = [0, 0, 0, 1], [0, 0, 0, 0]
    agreed = []
    for one in x:  # all choices of one rater of each
        for other in y:
            rest = (sum(x) - one)/3 - (sum(y) - other)/3
            if rest:  # choices whose others agree are passed over
                agreed.append((np.sign((one - other)*rest) + 1)/2)
    assert ratings.human_ceiling([x, y], n=4000) == pytest.approx(np.mean(agreed), abs=0.03)


@pytest.mark.parametrize('texts, options, message', [
    ([[1, 1], [1, 1]], {'n': 1}, 'not one has'),
    ([[1, 1, 1]]*300, {}, 'not one has'),
    ([[2, 2], [0, 0]], {'least': 2.5}, 'differ by 2.5 or more: lower it'),
    ([[2, 2]], {}, 'two sentences or more'),
    ([], {}, 'two sentences or more'),
    ([[2], [1]], {}, 'two raters or more'),
    ([[2, 1], []], {}, 'two raters or more'),
    ([[2, 2], [0, 0]], {'n': 0}, 'a pair to draw'),
    ([[float('nan')]*2, [0, 0]], {}, 'not one has'),
])
def test_a_ceiling_that_cannot_be_drawn_is_refused(texts, options, message):
    with pytest.raises(ValueError, match=message):
        ratings.human_ceiling(texts, **options)


@pytest.mark.parametrize('shares', [torch.zeros(2, 5), torch.zeros(9), torch.zeros(2, 9, 9)])
def test_shares_on_another_scale_are_refused(shares):
    with pytest.raises(ValueError, match='a row of 9 for each text'):
        ratings.preference_shares(shares)
