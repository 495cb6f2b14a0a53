"""Tiny random causal language models of many families, with weights so large that a wrong mask,
position or state shows in every log-probability; and the table of how each is read.

`python tests/architectures.py` prints the table, with `--write` it is stored."""
import copy
import json
import re
import sys
import warnings
from functools import partial
from pathlib import Path
from string import ascii_letters, digits

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import trunk_of
from rlhf_nbdev.tools.reading import reading_way

P, R = 8, 10
STORED = Path(__file__).resolve().parent.parent/'rlhf_nbdev/results/architectures.json'
VOCABULARY = 96
PAD = 1
EOS = [2, 3, 4, 5, 6, 7]  # so many that some responses end early
SIZES = {
    'vocab_size': VOCABULARY, 'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2,
    'num_attention_heads': 4, 'num_key_value_heads': 2, 'max_position_embeddings': 64,
    'bos_token_id': 0, 'eos_token_id': 2, 'pad_token_id': PAD,
}
EXPERTS = {
    'moe_intermediate_size': 16, 'num_experts': 4, 'num_local_experts': 4, 'n_routed_experts': 4,
    'num_experts_per_tok': 2,
}
LATENT = {'q_lora_rank': 16, 'kv_lora_rank': 16, 'num_key_value_heads': 4,
          'qk_nope_head_dim': 8, 'qk_rope_head_dim': 4, 'v_head_dim': 8}
STATES = {'mamba_d_state': 8, 'mamba_d_conv': 4, 'mamba_expand': 2, 'mamba_n_heads': 8,
          'mamba_d_head': 8, 'mamba_n_groups': 1, 'mamba_chunk_size': 8}
DELTA = {'layer_types': ['linear_attention', 'full_attention'], 'linear_num_key_heads': 2,
         'linear_num_value_heads': 4, 'linear_key_head_dim': 8, 'linear_value_head_dim': 8,
         'linear_conv_kernel_dim': 4}
VISION = {'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 1,
          'num_attention_heads': 2, 'image_size': 28, 'patch_size': 14}
ALTERNATING = {'layer_types': ['sliding_attention', 'full_attention'], 'sliding_window': 8}
BOTH_KINDS = {'layer_types': ['mamba', 'attention']}


@torch.no_grad()
def enlarge(model, std):
    "Matrices so far from 0 that attention is sharp; tokens that end and pad are set."
    for name, p in model.named_parameters():
        if p.ndim > 1 and 'A_log' not in name and p.std() > 0:
            p.mul_(std/p.std())
    model.generation_config.eos_token_id = EOS
    model.generation_config.pad_token_id = PAD
    return model.eval()


def tiny(model_type, std=0.25, seed=0, **options):
    "A random model of this type, the same for the same seed."
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **SIZES | options)
    return enlarge(AutoModelForCausalLM.from_config(config), std)


def nested(model_type, std=0.25, seed=0, text=None, **options):
    "One whose text configuration lies within that of a model which also sees."
    torch.manual_seed(seed)
    text_config = SIZES | (text or {})
    config = AutoConfig.for_model(model_type, text_config=text_config, vision_config=VISION,
                                  **options)
    return enlarge(AutoModelForCausalLM.from_config(config), std)


def tiny_t5():
    from transformers import T5Config, T5ForConditionalGeneration
    torch.manual_seed(0)
    config = T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
                      decoder_start_token_id=1)
    return enlarge(T5ForConditionalGeneration(config), 0.25)


ARCHITECTURES = {
    'GPT-2': partial(tiny, 'gpt2', resid_pdrop=0, embd_pdrop=0, attn_pdrop=0),
    'GPT-2, scaled by layer': partial(tiny, 'gpt2', scale_attn_by_inverse_layer_idx=True),
    'OpenAI-GPT': partial(tiny, 'openai-gpt'),
    'GPT-Neo': partial(tiny, 'gpt_neo', num_layers=2, attention_types=[[['global'], 2]]),
    'GPT-Neo, window of 8': partial(
        tiny, 'gpt_neo', num_layers=2, attention_types=[[['global', 'local'], 1]], window_size=8),
    'GPT-J': partial(tiny, 'gptj', rotary_dim=4),
    'GPT-NeoX': partial(tiny, 'gpt_neox'),
    'GPT-NeoX Japanese': partial(tiny, 'gpt_neox_japanese'),
    'CodeGen': partial(tiny, 'codegen', rotary_dim=4),
    'GPT-BigCode': partial(tiny, 'gpt_bigcode'),
    'CTRL': partial(tiny, 'ctrl', dff=48),
    'OPT': partial(tiny, 'opt', ffn_dim=48, word_embed_proj_dim=32),
    'OPT, projected': partial(
        tiny, 'opt', ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False),
    'BLOOM': partial(tiny, 'bloom'),
    'MPT': partial(tiny, 'mpt', expansion_ratio=2),
    'Falcon': partial(tiny, 'falcon', ffn_hidden_size=48),
    'Falcon, ALiBi': partial(tiny, 'falcon', alibi=True, ffn_hidden_size=48),
    'Falcon, new decoder': partial(
        tiny, 'falcon', new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=48),
    'XGLM': partial(tiny, 'xglm', d_model=32, ffn_dim=48, num_layers=2, attention_heads=4),
    'BioGPT': partial(tiny, 'biogpt'),
    'Llama': partial(tiny, 'llama'),
    'Llama, dynamic RoPE beyond 8': partial(
        tiny, 'llama', max_position_embeddings=8,
        rope_parameters={'rope_type': 'dynamic', 'rope_theta': 10000.0, 'factor': 4.0}),
    'Mistral': partial(tiny, 'mistral', sliding_window=None),
    'Mistral, window of 8': partial(tiny, 'mistral', sliding_window=8),
    'Ministral, window of 8': partial(tiny, 'ministral', head_dim=8, sliding_window=8),
    'Mixtral': partial(tiny, 'mixtral', **EXPERTS),
    'Mixtral, window of 8': partial(tiny, 'mixtral', sliding_window=8, **EXPERTS),
    'Qwen 2': partial(tiny, 'qwen2'),
    'Qwen 2, window of 8': partial(
        tiny, 'qwen2', use_sliding_window=True, sliding_window=8, max_window_layers=1),
    'Qwen2-MoE': partial(tiny, 'qwen2_moe', shared_expert_intermediate_size=16, **EXPERTS),
    'Qwen 3': partial(tiny, 'qwen3', head_dim=8),
    'Qwen3-MoE': partial(tiny, 'qwen3_moe', head_dim=8, **EXPERTS),
    'Qwen3-Next': partial(tiny, 'qwen3_next', head_dim=8, shared_expert_intermediate_size=16,
                          **EXPERTS, **DELTA),
    'Qwen 3.5': partial(tiny, 'qwen3_5_text', head_dim=8, **DELTA),
    'Gemma': partial(tiny, 'gemma', head_dim=8),
    'Gemma 2': partial(tiny, 'gemma2', head_dim=8, query_pre_attn_scalar=8),
    'Gemma 2, window of 8': partial(
        tiny, 'gemma2', head_dim=8, query_pre_attn_scalar=8, **ALTERNATING),
    'Gemma 3': partial(tiny, 'gemma3_text', head_dim=8),
    'Gemma 3, window of 8': partial(
        tiny, 'gemma3_text', head_dim=8, query_pre_attn_scalar=8, **ALTERNATING),
    'Gemma 3 with vision': partial(
        nested, 'gemma3', text={'head_dim': 8, 'query_pre_attn_scalar': 8, **ALTERNATING},
        mm_tokens_per_image=4),
    'Gemma 3n': partial(
        tiny, 'gemma3n_text', num_hidden_layers=4, head_dim=8, intermediate_size=48,
        hidden_size_per_layer_input=8, vocab_size_per_layer_input=VOCABULARY, laurel_rank=4,
        num_kv_shared_layers=2, altup_num_inputs=2, activation_sparsity_pattern=None,
        layer_types=['sliding_attention', 'full_attention']*2, sliding_window=8),
    'Gemma 4': partial(
        tiny, 'gemma4_text', head_dim=8, global_head_dim=8, hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY, **ALTERNATING),
    'VaultGemma, window of 8': partial(
        tiny, 'vaultgemma', head_dim=8, query_pre_attn_scalar=8, **ALTERNATING),
    'Llama 4': partial(tiny, 'llama4_text', head_dim=8, intermediate_size_mlp=48,
                       attention_chunk_size=64, **EXPERTS),
    'Llama 4, chunks of 8': partial(
        tiny, 'llama4_text', head_dim=8, intermediate_size_mlp=48, attention_chunk_size=8,
        layer_types=['chunked_attention', 'full_attention'], **EXPERTS),
    'Phi': partial(tiny, 'phi'),
    'Phi-3': partial(tiny, 'phi3'),
    'Phi-3, long RoPE beyond 8': partial(
        tiny, 'phi3', original_max_position_embeddings=8, rope_parameters={
            'rope_type': 'longrope', 'rope_theta': 10000.0, 'short_factor': [1.0]*4,
            'long_factor': [4.0]*4, 'original_max_position_embeddings': 8}),
    'Phi-3, window of 8': partial(tiny, 'phi3', sliding_window=8),
    'PhiMoE': partial(tiny, 'phimoe', **EXPERTS),
    'OLMo': partial(tiny, 'olmo'),
    'OLMo 2': partial(tiny, 'olmo2'),
    'OLMo 3, window of 8': partial(tiny, 'olmo3', **ALTERNATING),
    'OLMo-hybrid': partial(tiny, 'olmo_hybrid', **DELTA),
    'OLMoE': partial(tiny, 'olmoe', **EXPERTS),
    'StableLM': partial(tiny, 'stablelm'),
    'StarCoder 2': partial(tiny, 'starcoder2', sliding_window=None),
    'StarCoder 2, window of 8': partial(tiny, 'starcoder2', sliding_window=8),
    'Cohere': partial(tiny, 'cohere', logit_scale=0.5),
    'Cohere 2, window of 8': partial(tiny, 'cohere2', logit_scale=0.5, **ALTERNATING),
    'Granite': partial(tiny, 'granite', logits_scaling=2.0, embedding_multiplier=3.0),
    'GraniteMoE': partial(tiny, 'granitemoe', logits_scaling=2.0, **EXPERTS),
    'Granite-hybrid': partial(tiny, 'granitemoehybrid', shared_intermediate_size=48,
                              **STATES, **EXPERTS, **BOTH_KINDS),
    'SmolLM 3': partial(tiny, 'smollm3'),
    'LFM2': partial(tiny, 'lfm2', block_ff_dim=48, layer_types=['conv', 'full_attention']),
    'LFM 3': partial(tiny, 'lfm3', layer_types=['conv', 'full_attention']),
    'Falcon-H1': partial(tiny, 'falcon_h1', mamba_d_ssm=64, **STATES),
    'Falcon-Mamba': partial(tiny, 'falcon_mamba', state_size=8),
    'Bamba': partial(tiny, 'bamba', attn_layer_indices=[1], **STATES),
    'Jamba': partial(tiny, 'jamba', attn_layer_period=2, attn_layer_offset=1, mamba_dt_rank=4,
                     **STATES, **EXPERTS),
    'Zamba': partial(tiny, 'zamba', num_hidden_layers=4, n_mamba_heads=2, mamba_d_state=8,
                     layers_block_type=['mamba', 'hybrid']*2),
    'Zamba 2': partial(
        tiny, 'zamba2', num_hidden_layers=4, layers_block_type=['mamba', 'hybrid']*2,
        mamba_ngroups=1, n_mamba_heads=8, num_mem_blocks=1, mamba_d_state=8, chunk_size=8),
    'Nemotron': partial(tiny, 'nemotron'),
    'Nemotron-H': partial(
        tiny, 'nemotron_h', mamba_num_heads=8, mamba_head_dim=8, ssm_state_size=8, n_groups=1,
        chunk_size=8, head_dim=8, moe_shared_expert_intermediate_size=16, **EXPERTS),
    'Mamba': partial(tiny, 'mamba', state_size=8),
    'Mamba 2': partial(tiny, 'mamba2', num_heads=8, head_dim=8, state_size=8, n_groups=1,
                       chunk_size=8),
    'RWKV': partial(tiny, 'rwkv', attention_hidden_size=32, context_length=64),
    'RecurrentGemma': partial(
        tiny, 'recurrent_gemma', num_hidden_layers=3, lru_width=32, attention_window_size=8),
    'gpt-oss': partial(tiny, 'gpt_oss', head_dim=8, sliding_window=64, **EXPERTS),
    'gpt-oss, window of 8': partial(tiny, 'gpt_oss', head_dim=8, **EXPERTS, **ALTERNATING),
    'DeepSeek V2': partial(tiny, 'deepseek_v2', n_group=1, topk_group=1, **LATENT, **EXPERTS),
    'DeepSeek V3': partial(
        tiny, 'deepseek_v3', head_dim=4, n_group=1, topk_group=1, **LATENT, **EXPERTS),
    'MiniMax': partial(tiny, 'minimax', head_dim=8, block_size=8, **EXPERTS,
                       layer_types=['linear_attention', 'full_attention']),
    'MiniMax M2': partial(tiny, 'minimax_m2', head_dim=8, **EXPERTS),
    'GLM': partial(tiny, 'glm', head_dim=8),
    'GLM 4': partial(tiny, 'glm4', head_dim=8),
    'GLM4-MoE': partial(tiny, 'glm4_moe', head_dim=8, n_group=1, topk_group=1, **EXPERTS),
    'Persimmon': partial(tiny, 'persimmon'),
    'Ernie 4.5': partial(tiny, 'ernie4_5', head_dim=8),
    'Ernie4.5-MoE': partial(tiny, 'ernie4_5_moe', moe_num_experts=4, moe_k=2, **EXPERTS),
    'Exaone 4': partial(tiny, 'exaone4', **ALTERNATING),
    'Helium': partial(tiny, 'helium', head_dim=8),
    'Arcee': partial(tiny, 'arcee'),
    'Apertus': partial(tiny, 'apertus'),
    'Seed-OSS': partial(tiny, 'seed_oss', head_dim=8),
    'HunYuan': partial(tiny, 'hunyuan_v1_dense', head_dim=8),
    'DiffLlama': partial(tiny, 'diffllama', head_dim=8),
    'Doge': partial(tiny, 'doge'),
    'JetMoE': partial(tiny, 'jetmoe', kv_channels=8, **EXPERTS),
    'ModernBERT decoder, window of 8': partial(
        tiny, 'modernbert-decoder', local_attention=16, global_attn_every_n_layers=2,
        embedding_dropout=0.0),
    'nanochat': partial(tiny, 'nanochat'),
    'BERT': partial(tiny, 'bert'),
    'BERT as a decoder': partial(tiny, 'bert', is_decoder=True),
    'BART': partial(tiny, 'bart', d_model=32, decoder_layers=2, decoder_attention_heads=4,
                    decoder_ffn_dim=48, encoder_layers=2, encoder_attention_heads=4),
    'XLM': partial(tiny, 'xlm', emb_dim=32, n_layers=2, n_heads=4),
    'T5': tiny_t5,
}


def tiny_tokenizer(**options):
    "A token for each letter, and a few fewer than the models have."
    letters = ascii_letters + digits + '.,!?Ġ'
    tokens = ['<s>', '<pad>', '</s>', *letters]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {'bos_token': '<s>', 'pad_token': '<pad>', 'eos_token': '</s>'}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special | options)


def outcome(name, model):
    "A line of the table: how a model's rows are read, or why it is refused."
    line = {'name': name, 'class': type(model).__name__, 'read': 'refused', 'why': ''}
    config = RLHFConfig(prompt_length=P, response_length=R, batch_size=6)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            agent = Agent(model)
            RLHFTrainer(agent, copy.deepcopy(model), config)
            RewardModel(model)
            line['read'] = reading_way(trunk_of(model), P + R)
    except ValueError as error:
        line['why'] = re.sub(r'\d+\.[\de.+-]+', '…', str(error))  # sizes differ with the machine
    return line


def read_table():
    "The stored lines, by name."
    if not STORED.is_file():
        return {}
    return {line['name']: line for line in json.loads(STORED.read_text(encoding='utf-8'))}


def main():
    table = [outcome(name, make()) for name, make in ARCHITECTURES.items()]
    for line in table:
        print(f"{line['name']:32} {line['read']:8} {line['why']}")
    if '--write' in sys.argv:
        rows = ',\n'.join(json.dumps(line, ensure_ascii=False) for line in table)
        STORED.write_text(f'[\n{rows}\n]\n', encoding='utf-8')


if __name__ == '__main__':
    main()
