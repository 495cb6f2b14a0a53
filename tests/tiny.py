"A GPT-2 so small that a test of it takes milliseconds, and what it reads."
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf_nbdev.run.pretrain import train_tokenizer

TEXTS = [
    'A small film, and a good one.',
    'The plot is thin. I left.',
    'Nothing here is worth a look, but for the dog.',
    'Great fun from start to end!',
]*3


def tiny_gpt2(vocab=64, width=16, layers=2, heads=2, context=48, eos=0, pad=1, dropout=0.0, seed=0):
    "A random GPT-2, the same for the same seed."
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab, n_embd=width, n_layer=layers, n_head=heads, n_positions=context,
        bos_token_id=0, eos_token_id=eos, pad_token_id=pad,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)
    return GPT2LMHeadModel(config).eval()


def decided_gpt2(**options):
    "One whose logits are far enough apart that temperature and top-k show."
    model = tiny_gpt2(**options)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(6)
    return model


def tiny_prompts(vocab=64, rows=6):
    "Ids and mask, (rows, 4) each, padded on the left with 1."
    torch.manual_seed(1)
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]*(rows//3))
    return torch.randint(2, vocab, (rows, 4))*mask + 1 - mask, mask


def tiny_tokenizer(vocab=300):
    return train_tokenizer(TEXTS, vocab)


def close(ours, theirs, atol=1e-5, rtol=0):
    "Raise AssertionError unless two tensors agree."
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=rtol)


def prompt_items(vocab=64, rows=12):
    "Prompts as items of a data set."
    ids, mask = tiny_prompts(vocab, rows)
    return [{'input_ids': row, 'attention_mask': real} for row, real in zip(ids, mask)]
