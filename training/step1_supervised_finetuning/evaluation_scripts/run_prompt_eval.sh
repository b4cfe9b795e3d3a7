#!/usr/bin/env bash
# Answers of a base model and its fine-tuned model to the same prompts, side by side, as Markdown and JSON.
# Machine: any; a GPU is used if there is one.
#
#   bash run_prompt_eval.sh [BASELINE] [FINETUNE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment; flags at the end win. Prompts of your own besides
# DATA_PATH: --prompt "..." "..."; more models: --model_name_or_path FOLDER ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional MODEL_NAME_OR_PATH_BASELINE MODEL_NAME_OR_PATH_FINETUNE OUTPUT -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH_BASELINE="${MODEL_NAME_OR_PATH_BASELINE:-$KORLHF_ROOT/output/quickstart/base}"  # before fine-tuning
MODEL_NAME_OR_PATH_FINETUNE="${MODEL_NAME_OR_PATH_FINETUNE:-$KORLHF_ROOT/output/quickstart/sft}"  # after it
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/prompt_eval/answers}"       # OUTPUT.md and OUTPUT.json are written
DATA_PATH="${DATA_PATH:-sample/heldout_prompts}"                  # whose prompts are answered: names or files
MAX_PROMPTS="${MAX_PROMPTS:-20}"                                  # how many of them, drawn at random
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-100}"                           # longest answer in tokens
TEMPERATURE="${TEMPERATURE:-0}"                                   # 0: greedy
TOP_P="${TOP_P:-1.0}"                                             # nucleus sampling; 1: off
NUM_RETURN_SEQUENCES="${NUM_RETURN_SEQUENCES:-1}"  # answers per prompt; more than 1 needs a temperature above 0
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
SEED="${SEED:-1234}"                                              # seed of the draw and of the sampler

start training/step1_supervised_finetuning/prompt_eval.py \
    MODEL_NAME_OR_PATH_BASELINE MODEL_NAME_OR_PATH_FINETUNE DATA_PATH... MAX_PROMPTS MAX_NEW_TOKENS TEMPERATURE TOP_P \
    NUM_RETURN_SEQUENCES ROLLOUT VLLM_ARGS SEED OUTPUT -- "$@"
