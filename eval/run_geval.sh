#!/usr/bin/env bash
# G-Eval: a judge with the rubrics of data_prep, or a reward model, scores several models' answers to the same prompts.
# Machine: any; a GPU is used if there is one.
#
#   bash run_geval.sh [MODELS] [JUDGE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (JUDGE=openai:gpt-4o bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional RESPONDER JUDGE OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
RESPONDER="${RESPONDER:-base=$RUN/base
sft=$RUN/sft
ppo=$RUN/ppo}"  # who answers, one a line: [NAME=]FOLDER, openai:MODEL@URL or FILE
JUDGE="${JUDGE:-reward_model:$RUN/reward}"  # who scores: openai:MODEL@URL, checkpoint:FOLDER or reward_model:FOLDER
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
DATA_PATH="${DATA_PATH:-sample/prompts}"  # prompts: names or files; of a set with an evaluation split, that split
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # 0 = all
NUM_ANSWERS="${NUM_ANSWERS:-1}"                                   # answers per prompt
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers; 0 = greedy
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
JUDGE_SAMPLES="${JUDGE_SAMPLES:-5}"  # forms an answer, where a server gives no token probabilities
RESCORE_SHARE="${RESCORE_SHARE:-0.1}"  # of the answers, judged again to measure the judge's noise
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
SEED="${SEED:-1234}"

start eval/geval.py RESPONDER... DATA_PATH... MAX_PROMPTS JUDGE NUM_ANSWERS TEMPERATURE MAX_NEW_TOKENS JUDGE_SAMPLES \
    RESCORE_SHARE ROLLOUT VLLM_ARGS SEED OUTPUT_DIR -- "$@"
