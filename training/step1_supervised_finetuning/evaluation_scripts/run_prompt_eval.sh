#!/usr/bin/env bash
# Answers of a base model and its fine-tuned model to the same prompts, side by side, as Markdown and JSON.
# Machine: any; a GPU is used if there is one.
#
#   bash run_prompt_eval.sh [BASELINE] [FINETUNE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment; flags after the positional words win. Prompts of your own: --prompt "..." "..."
# (beside those of DATA_PATH); more models: --model_name_or_path FOLDER ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional BASELINE FINETUNE OUTPUT -- "$@"
shift "$TAKEN"

BASELINE="${BASELINE:-$KORLHF_ROOT/output/quickstart/base}"           # the model before fine-tuning
FINETUNE="${FINETUNE:-$KORLHF_ROOT/output/quickstart/sft}"            # the model after it
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/prompt_eval/answers}"           # OUTPUT.md and OUTPUT.json are written
DATA_PATH="${DATA_PATH:-sample/heldout_prompts}"                      # whose prompts are answered: names or files
MAX_PROMPTS="${MAX_PROMPTS:-20}"                                      # how many of them, drawn at random
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-100}"                               # longest answer in tokens
TEMPERATURE="${TEMPERATURE:-0}"                                       # 0: greedy
TOP_P="${TOP_P:-1.0}"                                                 # nucleus sampling; 1: off
NUM_RETURN_SEQUENCES="${NUM_RETURN_SEQUENCES:-1}"                     # answers a prompt; more than 1 needs a temperature above 0
SEED="${SEED:-1234}"                                                  # seed of the draw and of the sampler

words DATA "$DATA_PATH"
become "training/step1_supervised_finetuning/prompt_eval.py" \
    --model_name_or_path_baseline "$BASELINE" \
    --model_name_or_path_finetune "$FINETUNE" \
    --data_path "${DATA[@]}" \
    --max_prompts "$MAX_PROMPTS" \
    --max_new_tokens "$MAX_NEW_TOKENS" \
    --temperature "$TEMPERATURE" \
    --top_p "$TOP_P" \
    --num_return_sequences "$NUM_RETURN_SEQUENCES" \
    --seed "$SEED" \
    --output "$OUTPUT" \
    "$@"
