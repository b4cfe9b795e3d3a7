#!/usr/bin/env bash
# What PPO breaks first: how varied answers are, whether they end, KL to the model before PPO, held-out perplexity.
# Machine: any; a GPU is used if there is one.
#
#   bash run_diversity.sh [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (MAX_PROMPTS=100 bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional RESPONDER OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
RESPONDER="${RESPONDER:-base=$RUN/base
sft=$RUN/sft
ppo=$RUN/ppo}"  # in the order of training, one a line: [NAME=]FOLDER, a server, a FILE
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
DATA_PATH="${DATA_PATH:-sample/prompts}"                          # prompts: names or files
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # 0 = all
REFERENCE="${REFERENCE:-}"  # compared with: a name or a folder; empty: sft, else the first
HELDOUT_DATA_PATH="${HELDOUT_DATA_PATH:-sample/heldout_sft}"  # answers or documents for the perplexity: names or files
MAX_KL="${MAX_KL:-20}"                                            # warn above this KL per answer (nats)
NUM_ANSWERS="${NUM_ANSWERS:-1}"  # answers per prompt; more show how varied answers to one prompt are
TEMPERATURE="${TEMPERATURE:-0.7}"  # of the answers; 0 = greedy (KL is always over answers at temperature 1)
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
SEED="${SEED:-1234}"

start eval/diversity.py RESPONDER... DATA_PATH... MAX_PROMPTS REFERENCE HELDOUT_DATA_PATH... MAX_KL NUM_ANSWERS \
    TEMPERATURE MAX_NEW_TOKENS ROLLOUT VLLM_ARGS SEED OUTPUT_DIR -- "$@"
