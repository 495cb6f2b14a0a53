# ruff: noqa: F811, F821
# Answers to the exercises of lesson 10, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_patients: list_causes
answer = {}

# %% wrong ask_patients: dots
answer = {number: ... for number in range(1, 11)}

# %% wrong ask_patients: list_causes
answer = dict.fromkeys(range(1, 11), '')

# %% wrong ask_patients: nothing is said yet of 2, 3, 4, 5, 6, 7, 8, 9, 10
answer = {1: 'the loss has the wrong sign'}

# %% wrong ask_patients: is not in the list: do you mean "the loss has the wrong sign"?
answer = {1: 'wrong sign of the loss'}

# %% wrong ask_patients: is not in the list: `list_causes()` prints the names
answer = {1: 'overfitting'}

# %% wrong ask_patients: there is no patient 0
answer = {0: 'nothing', 1: 'nothing'}

# %% wrong ask_patients: a dict is asked for
answer = 'the loss has the wrong sign'

# %% wrong ask_patients: the name of one cause
answer = {1: ['the loss has the wrong sign', 'nothing']}

# %% wrong ask_patients: its approx_kl is 0.21
answer = {1: 'all tokens have one advantage'}

# %% wrong ask_patients: patient 1 is not healthy: kl ends at 227
answer = dict.fromkeys(range(1, 11), 'nothing')

# %% wrong ask_patients: the explained variance would be exactly 0
answer = {2: 'values are not learnt'}

# %% wrong ask_patients: standard deviation of 0
answer = {2: 'the reward is constant'}

# %% wrong ask_patients: within about a nat
answer = {2: 'the KL penalty is too large'}

# %% wrong ask_patients: much would be clipped while little moves
answer = {3: 'the second branch lost its advantage'}

# %% wrong ask_patients: its entropy goes from
answer = {3: 'the learning rate is too high'}

# %% wrong ask_patients: the first moves the policy by 0.15 nats a token
answer = {4: 'the policy is frozen'}

# %% wrong ask_patients: its entropy goes from 2.34 to 1.57
answer = {5: 'the learning rate is too high'}

# %% wrong ask_patients: falls from 15.88
answer = {6: 'the reference is another model'}

# %% wrong ask_patients: the KL ends at 37.82 nats
answer = {7: 'the KL has the wrong sign'}

# %% wrong ask_patients: nothing else would be unusual
answer = {7: 'the reward has the wrong sign'}

# %% wrong ask_patients: read what it says
answer = {8: 'nothing'}

# %% wrong ask_patients: which is rounding
answer = {8: 'another temperature'}

# %% wrong ask_patients: 17.20 of 24 tokens
answer = {9: 'the reward pays for length'}

# %% wrong ask_patients: their approx_kl is 0.00062
answer = {10: 'the learning rate does not fall'}

# %% wrong ask_patients: patient 10: if there is no KL penalty
answer = {
    1: 'the loss has the wrong sign', 2: 'scores belong to other responses',
    3: 'the learning rate does not fall', 4: 'the reference is the policy', 5: 'nothing',
    6: 'dropout is on in the reference', 7: 'there is no KL penalty',
    8: 'the reward has the wrong sign', 9: 'EOS is not part of the response',
    10: 'there is no KL penalty'}

# %% right ask_patients
answer = {
    10: 'the second branch lost its advantage', 9: 'EOS is not part of the response',
    8: 'the reward has the wrong sign', 7: 'there is no KL penalty',
    6: 'dropout is on in the reference', 5: 'nothing', 4: 'the reference is the policy',
    3: 'the learning rate does not fall', 2: 'scores belong to other responses',
    1: 'the loss has the wrong sign'}

# %% right ask_patients
answer = [
    'the loss has the wrong sign', 'scores belong to other responses',
    'the learning rate does not fall', 'the reference is the policy', 'nothing',
    'dropout is on in the reference', 'there is no KL penalty', 'the reward has the wrong sign',
    'EOS is not part of the response', 'the second branch lost its advantage']

# %% right ask_patients
answer = {
    '1': 'The loss has the wrong sign.', '2': ' scores belong to  other responses',
    '3': 'The learning rate does not fall.', '4': 'the reference is the policy', '5': 'Nothing',
    '6': 'dropout is on in the reference', '7': 'there is no kl penalty',
    '8': 'THE REWARD HAS THE WRONG SIGN', '9': 'eos is not part of the response',
    '10': 'the second branch lost its advantage'}

# %% right ask_patients
answer = pd.Series([
    'the loss has the wrong sign', 'scores belong to other responses',
    'the learning rate does not fall', 'the reference is the policy', 'nothing',
    'dropout is on in the reference', 'there is no KL penalty', 'the reward has the wrong sign',
    'EOS is not part of the response', 'the second branch lost its advantage'],
    index=range(1, 11))

# %% wrong check_follows_length: two curves that have a trend
def my_symptom(run):
    return run.rows['score'].corr(run.rows['response_tokens']) > 0.8

# %% wrong check_follows_length: two curves that have a trend
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if not set(columns) <= set(run.rows) or len(run.rows[columns].dropna()) < 8:
        return False
    rows = run.rows[columns].dropna()
    return bool(np.corrcoef(rows['score'], rows['response_tokens'])[0, 1] > 0.8)

# %% wrong check_follows_length: two curves that have a trend
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    rows = run.rows[columns].dropna()
    if len(rows) < 8:
        return False
    return abs(rows['score'].corr(rows['response_tokens'])) > 0.8

# %% wrong check_follows_length: a straight line is taken out
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    rows = run.rows[columns].dropna()
    if len(rows) < 8:
        return False
    time = np.arange(len(rows))
    rest = rows.apply(lambda column: column - np.polyval(np.polyfit(time, column, 1), time))
    if rest.std().min() < 1e-9:
        return False
    return bool(rest['score'].corr(rest['response_tokens']) > 0.8)

# %% wrong check_follows_length: the sign is ignored
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    rows = run.rows[columns].dropna()
    if len(rows) < 8:
        return False
    changes = rows.diff().iloc[1:]
    return bool(abs(changes['score'].corr(changes['response_tokens'])) > 0.8)

# %% wrong check_follows_length: the sign is ignored
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return False
    rows = run.rows[['score', 'response_tokens']].dropna()
    if len(rows) < 8 or rows.std().min() == 0:
        return False
    r = np.corrcoef(np.diff(rows['score']), np.diff(rows['response_tokens']))[0, 1]
    return r**2 > 0.64

# %% wrong check_follows_length: depends on the units
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return False
    rows = run.rows[['score', 'response_tokens']].dropna().diff().dropna()
    if len(rows) < 7:
        return False
    return bool(rows.cov().iloc[0, 1] > 0.8)

# %% wrong check_follows_length: depends on the units
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return False
    changes = run.rows[['score', 'response_tokens']].dropna().diff().dropna()
    if len(changes) < 7 or changes['response_tokens'].std() == 0:
        return False
    return bool(np.polyfit(changes['response_tokens'], changes['score'], 1)[0] > 0.8)

# %% wrong check_follows_length: the end is compared with the start
def my_symptom(run):
    return run.end('score') > run.first('score') and (
        run.end('response_tokens') > run.first('response_tokens'))

# %% wrong check_follows_length: the lesson's symptom
def my_symptom(run):
    return run.end('response_tokens') > 0.75*run.limit

# %% wrong check_follows_length: the lesson's symptom
def my_symptom(run):
    from rlhf_nbdev.debugging import lengths_are_odd
    return lengths_are_odd(run) is not None

# %% wrong check_follows_length: compared with a change
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    rows = run.rows[columns].dropna()
    if len(rows) < 8:
        return False
    return bool(rows['score'].diff().corr(rows['response_tokens']) > 0.8)

# %% wrong check_follows_length: a few updates show nothing
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    changes = run.rows[columns].dropna().diff().iloc[1:]
    return bool(changes['score'].corr(changes['response_tokens']) > 0.8)

# %% wrong check_follows_length: leave it out
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns) or len(run.rows) < 8:
        return False
    changes = np.diff(run.rows[columns].to_numpy(), axis=0)
    return bool(np.corrcoef(changes.T)[0, 1] > 0.8)

# %% wrong check_follows_length: a column is missing
def my_symptom(run):
    changes = run.rows[['score', 'response_tokens']].dropna().diff().iloc[1:]
    if len(changes) < 7:
        return False
    return bool(changes['score'].corr(changes['response_tokens']) > 0.8)

# %% wrong check_follows_length: changed in place
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return False
    run.rows.dropna(inplace=True)
    changes = run.rows[['score', 'response_tokens']].diff().iloc[1:]
    return len(changes) >= 7 and bool(changes['score'].corr(changes['response_tokens']) > 0.8)

# %% wrong check_follows_length: changed in place
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return False
    run.rows['paid'] = run.rows['score'].diff()
    run.rows['longer'] = run.rows['response_tokens'].diff()
    changes = run.rows[['paid', 'longer']].dropna()
    return len(changes) >= 7 and bool(changes['paid'].corr(changes['longer']) > 0.8)

# %% wrong check_follows_length: True or False is asked for
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return 0.0
    changes = run.rows[['score', 'response_tokens']].dropna().diff().iloc[1:]
    return changes['score'].corr(changes['response_tokens'])

# %% wrong check_follows_length: True or False is asked for
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return None
    changes = run.rows[['score', 'response_tokens']].dropna().diff().iloc[1:]
    if len(changes) < 7 or not changes['score'].corr(changes['response_tokens']) > 0.8:
        return None
    return Finding('the score follows the length', ['the reward pays for length'], 'plot it')

# %% wrong check_follows_length: common trend
def my_symptom(run):
    score, tokens = run.rows['score'].dropna(), run.rows['response_tokens'].dropna()
    together = 0
    for i in range(1, len(score)):
        if (score[i] - score[i - 1])*(tokens[i] - tokens[i - 1]) > 0:
            together += 1
    return together > 0.8*len(score)

# %% wrong check_follows_length: the end is compared with the start
def my_symptom(run):
    if 'score' not in run.rows or 'response_tokens' not in run.rows:
        return False
    rows = run.rows[['score', 'response_tokens']].dropna()
    if len(rows) < 8:
        return False
    rise = rows.iloc[-3:].mean() - rows.iloc[0]
    return bool((rise > 0).all())

# %% wrong check_follows_length: it is never seen
def my_symptom(run):
    return False

# %% right check_follows_length
def my_symptom(run):
    pairs = zip(run.rows.get('score', []), run.rows.get('response_tokens', []))
    pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
    if len(pairs) < 8:
        return False
    score = [b[0] - a[0] for a, b in zip(pairs, pairs[1:])]
    tokens = [b[1] - a[1] for a, b in zip(pairs, pairs[1:])]
    if np.std(score) == 0 or np.std(tokens) == 0:
        return False
    return np.corrcoef(score, tokens)[0, 1] >= 0.8

# %% right check_follows_length
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    ranks = run.rows[columns].dropna().diff().dropna().rank()
    return len(ranks) >= 7 and bool(ranks.corr().iloc[0, 1] > 0.75)

# %% right check_follows_length
def my_symptom(run):
    columns = [run.rows.get(name) for name in ('score', 'response_tokens')]
    if any(column is None for column in columns):
        return False
    numbers = torch.tensor(np.array(columns, dtype=float))
    numbers = numbers[:, ~numbers.isnan().any(0)]
    if numbers.shape[1] < 8:
        return False
    return torch.corrcoef(numbers.diff(dim=1))[0, 1] > 0.8

# %% right check_follows_length
def my_symptom(run):
    "What is left above a mean of three updates around each."
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    rows = run.rows[columns].dropna()
    if len(rows) < 8:
        return False
    rest = (rows - rows.rolling(3, center=True).mean()).dropna()
    if rest.abs().max().min() < 1e-12:
        return False
    return bool(rest['score'].corr(rest['response_tokens']) > 0.8)

# %% right check_follows_length
def my_symptom(run):
    "Changes before gaps are left out as well."
    try:
        changes = run.rows[['score', 'response_tokens']].diff().dropna()
    except KeyError:
        return False
    if len(changes) < 7:
        return False
    x, y = (changes - changes.mean()).to_numpy().T
    return bool(x @ y > 0.8*np.sqrt((x @ x)*(y @ y)) > 0)

# %% wrong check_faulty_score: differs by rounding
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.equal(first, score(tokens, mask)):
        return 'dropout'
    if torch.equal(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not torch.allclose(first, score(pads, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if torch.allclose(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row],
                      atol=1e-4):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: cutting it off mends both
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: each row is padded
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'padding'
    whole = mask.bool().all(1)
    if same(first[whole], logprobs[whole]):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: the size of the gap
def my_fault(score, tokens, mask, logprobs, vocab):
    gap = (score(tokens, mask) - logprobs).abs().mean()
    if gap < 1e-4:
        return 'nothing'
    if gap < 0.1:
        return 'positions'
    if gap < 0.5:
        return 'temperature'
    return 'dropout' if gap < 4 else 'shifted'

# %% wrong check_faulty_score: passes for shifted tokens
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    return 'temperature' if (first/logprobs).std() < 1e-2 else 'shifted'

# %% wrong check_faulty_score: not the log-probs
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: in *one place*
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not torch.allclose(first, score(pads, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    alone = score(tokens[row][real][None], mask[row][real][None])[0]
    if torch.allclose(alone, logprobs[row], atol=1e-4):
        return 'positions'
    return 'temperature' if abs(first.exp().sum(1) - 1).max() < 1e-3 else 'shifted'

# %% wrong check_faulty_score: never scores twice
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: the wrong way round
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) > 1e-3 else 'shifted'

# %% wrong check_faulty_score: shifted tokens pass for a temperature
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    return 'temperature'

# %% wrong check_faulty_score: in* the padding
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    first = score(tokens, mask)
    if not same(first, score(tokens, mask)):
        return 'dropout'
    if same(first, logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(first, score(pads, mask)):
        return 'positions'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'padding'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: called a sixth time
def my_fault(score, tokens, mask, logprobs, vocab):
    def same(a, b):
        return torch.allclose(a, b, atol=1e-4)
    if not same(score(tokens, mask), score(tokens, mask)):
        return 'dropout'
    if same(score(tokens, mask), logprobs):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not same(score(tokens, mask), score(pads, mask)):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    if same(score(tokens[row][real][None], mask[row][real][None])[0], logprobs[row]):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: called a sixth time
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    total = 0
    for token in range(vocab):
        row = tokens[:1].clone()
        row[0, -1] = token
        total += score(row, mask[:1])[0, -1].exp()
    return 'shifted' if abs(total - 1) > 1e-3 else 'temperature'

# %% wrong check_faulty_score: changed in place
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    tokens[mask == 0] = 0
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    alone = score(tokens[row][real][None], mask[row][real][None])[0]
    if torch.allclose(alone, logprobs[row], atol=1e-4):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: which is none of
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout is on'
    return 'right' if torch.allclose(first, logprobs, atol=1e-4) else 'another temperature'

# %% wrong check_faulty_score: is called a temperature
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    return 'nothing' if torch.allclose(first, logprobs, atol=1e-4) else 'temperature'

# %% wrong check_faulty_score: is called a fault of positions
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    return 'nothing' if torch.allclose(first, logprobs, atol=1e-4) else 'positions'

# %% wrong check_faulty_score: positions and padding are not asked about
def my_fault(score, tokens, mask, logprobs, vocab):
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp().sum()
    return 'temperature' if abs(total - 1) < 1e-3 else 'shifted'

# %% wrong check_faulty_score: always says that nothing is wrong
def my_fault(score, tokens, mask, logprobs, vocab):
    return 'nothing'

# %% right check_faulty_score
def my_fault(score, tokens, mask, logprobs, vocab):
    "Padding is added, and the last place is asked in rows without padding."
    P = tokens.shape[1]
    longer = torch.nn.functional.pad(tokens, (3, 0), value=1)
    longer_mask = torch.nn.functional.pad(mask, (3, 0))
    first, again = score(tokens, mask), score(tokens, mask)
    if (first - again).abs().max() > 1e-4:
        return 'dropout'
    if (first - logprobs).abs().max() < 1e-4:
        return 'nothing'
    moved = score(longer, longer_mask)
    if (moved - first).abs().max() > 1e-4:
        others = torch.where(mask == 1, tokens, tokens.flip(0).roll(1, 1).add(1) % vocab)
        others = torch.where((mask == 0) & (others == tokens), (tokens + 2) % vocab, others)
        return 'padding' if (score(others, mask) - first).abs().max() > 1e-4 else 'positions'
    probe = torch.randint(vocab, (1, P)).repeat(vocab, 1)
    probe[:, -1] = torch.arange(vocab)
    total = score(probe, torch.ones_like(probe))[:, -1].logsumexp(0)
    return 'temperature' if abs(total) < 1e-3 else 'shifted'

# %% right check_faulty_score
def my_fault(score, tokens, mask, logprobs, vocab):
    "All questions first, then the answers."
    R = logprobs.shape[1]
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    probe = tokens[:1, -R - 1:].repeat(vocab, 1)
    probe[:, -1] = torch.arange(vocab)
    first, again = score(tokens, mask), score(tokens, mask)
    other_pads = score(pads, mask)
    alone = score(tokens[row:row + 1, real], mask[row:row + 1, real])
    chances = score(probe, torch.ones_like(probe))[:, -1].exp()
    if not torch.allclose(first, again):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-3):
        return 'nothing'
    if not torch.allclose(first, other_pads, atol=1e-4):
        return 'padding'
    if torch.allclose(alone[0], logprobs[row], atol=1e-3):
        return 'positions'
    return 'temperature' if 0.99 < chances.sum() < 1.01 else 'shifted'

# %% right check_faulty_score
def my_fault(score, tokens, mask, logprobs, vocab):
    "Two scorings in one call: the rows twice."
    B = len(tokens)
    both = score(tokens.repeat(2, 1), mask.repeat(2, 1))
    if not torch.allclose(both[:B], both[B:], atol=1e-5):
        return 'dropout'
    first = both[:B]
    if np.allclose(first.numpy(), logprobs.numpy(), atol=1e-4):
        return 'nothing'
    for fill in range(2):
        filled = tokens.masked_fill(mask == 0, fill)
        if not torch.allclose(first, score(filled, mask), atol=1e-5):
            return 'padding'
    row = mask.sum(1).argmin()
    alone = tokens[row][mask[row] == 1].unsqueeze(0)
    if torch.allclose(score(alone, torch.ones_like(alone))[0], logprobs[row], atol=1e-4):
        return 'positions'
    probe = alone.expand(vocab, -1).clone()
    probe[:, -1] = torch.arange(vocab)
    sums = score(probe, torch.ones_like(probe))[:, -1].exp().sum()
    return 'temperature' if math.isclose(sums, 1, abs_tol=1e-3) else 'shifted'

# %% right check_faulty_score
def my_fault(score, tokens, mask, logprobs, vocab):
    "The chances first, in the first place of the response."
    R = logprobs.shape[1]
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -R] = torch.arange(vocab)
    total = score(rows, mask[:1].repeat(vocab, 1))[:, 0].exp().sum().item()
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    if abs(total - 1) > 1e-3:
        return 'shifted'
    pads = torch.where(mask.bool(), tokens, vocab - 1 - tokens)
    pads = torch.where(mask.bool() | (pads != tokens), pads, (tokens + 1) % vocab)
    if not torch.allclose(first, score(pads, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    alone = score(tokens[row, real][None], mask[row, real][None])
    return 'positions' if torch.allclose(alone[0], logprobs[row], atol=1e-4) else 'temperature'

# %% wrong check_faulty_score: passes for shifted tokens
def my_fault(score, tokens, mask, logprobs, vocab):
    "The log-probs of a temperature are taken to correlate with those that were noted."
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not torch.allclose(first, score(pads, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    alone = score(tokens[row][real][None], mask[row][real][None])[0]
    if torch.allclose(alone, logprobs[row], atol=1e-4):
        return 'positions'
    together = np.corrcoef(first.flatten(), logprobs.flatten())[0, 1]
    return 'temperature' if together > 0.9 else 'shifted'

# %% wrong check_faulty_score: shifted tokens pass for a temperature
def my_fault(score, tokens, mask, logprobs, vocab):
    "Shifted log-probs are taken for those of the next place."
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not torch.allclose(first, score(pads, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    alone = score(tokens[row][real][None], mask[row][real][None])[0]
    if torch.allclose(alone, logprobs[row], atol=1e-4):
        return 'positions'
    is_shifted = torch.allclose(first[:, :-1], logprobs[:, 1:], atol=1e-4)
    return 'shifted' if is_shifted else 'temperature'

# %% wrong check_follows_length: signs of the changes
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    rows = run.rows[columns].dropna()
    if len(rows) < 8:
        return False
    signs = np.sign(rows.diff().iloc[1:])
    return bool((signs['score'] == signs['response_tokens']).mean() > 0.8)

# %% wrong check_follows_length: eight updates are enough
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns):
        return False
    changes = run.rows[columns].dropna().diff().iloc[1:]
    return len(changes) > 8 and bool(changes.corr().iloc[0, 1] > 0.8)

# %% wrong check_follows_length: updates are counted before those with a gap are left out
def my_symptom(run):
    columns = ['score', 'response_tokens']
    if any(column not in run.rows for column in columns) or len(run.rows) < 8:
        return False
    changes = run.rows[columns].dropna().diff().iloc[1:]
    return bool(changes['score'].corr(changes['response_tokens']) > 0.8)

# %% wrong check_faulty_score: a sixth time
def my_fault(score, tokens, mask, logprobs, vocab):
    "Right, but the batch is scored once too often."
    first = score(tokens, mask)
    if not torch.allclose(first, score(tokens, mask), atol=1e-4):
        return 'dropout'
    if torch.allclose(first, logprobs, atol=1e-4):
        return 'nothing'
    pads = torch.where(mask.bool(), tokens, (tokens + 1) % vocab)
    if not torch.allclose(score(tokens, mask), score(pads, mask), atol=1e-4):
        return 'padding'
    row = int(mask.sum(1).argmin())
    real = mask[row].bool()
    alone = score(tokens[row][real][None], mask[row][real][None])[0]
    if torch.allclose(alone, logprobs[row], atol=1e-4):
        return 'positions'
    rows = tokens[:1].repeat(vocab, 1)
    rows[:, -1] = torch.arange(vocab)
    chances = score(rows, mask[:1].repeat(vocab, 1))[:, -1].exp()
    return 'temperature' if 0.99 < chances.sum() < 1.01 else 'shifted'

# %% wrong check_follows_length: the changes are compared, as they should be; but
def my_symptom(run):
    changes = run.rows[['score', 'response_tokens']].dropna().diff()
    return bool(changes['score'].corr(changes['response_tokens']) > 0.8)

# %% wrong check_follows_length: the changes are compared, as they should be; but
def my_symptom(run):
    return run.rows['score'].diff().corr(run.rows['response_tokens'].diff()) > 0.8
