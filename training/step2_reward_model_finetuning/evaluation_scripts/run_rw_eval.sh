#!/usr/bin/env bash
# What a reward model is worth: its accuracy on pairs that it was not trained on, beside the best trivial rules on the same pairs.
# Machine: any; a GPU is used if there is one.
#
#   bash run_rw_eval.sh [MODEL] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (DATA_PATH=mine.jsonl bash ...); flags after the positional words win.
# Answers to a single prompt:   python rw_eval.py --model_name_or_path MODEL --prompt "안녕?" --answer "네, 안녕하세요!" "몰라."
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional MODEL OUTPUT -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-$KORLHF_ROOT/output/quickstart/reward}"           # the reward model: a folder of step 2, or a DeepSpeed-Chat checkpoint
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/rw_eval/rw_eval.json}"      # figures; scores of every pair go beside it
DATA_PATH="${DATA_PATH:-sample/heldout_reward}"                   # pairs to score: names or files
TRAIN_DATA_PATH="${TRAIN_DATA_PATH:-}"                            # what MODEL was trained on: the trivial rules are chosen there; empty: a random half
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer
BATCH="${BATCH:-16}"                                              # prompts in a forward pass
TEMPLATE="${TEMPLATE:-auto}"                                      # auto: the template in the model's folder

words DATA "$DATA_PATH"
TRAIN=()
[[ -z "$TRAIN_DATA_PATH" ]] || words TRAIN "$TRAIN_DATA_PATH"
become "training/step2_reward_model_finetuning/rw_eval.py" \
    --model_name_or_path "$MODEL" \
    --data_path "${DATA[@]}" \
    ${TRAIN[@]+--train_data_path "${TRAIN[@]}"} \
    --max_seq_len "$MAX_SEQ_LEN" \
    --per_device_eval_batch_size "$BATCH" \
    --prompt_template "$TEMPLATE" \
    --output "$OUTPUT" \
    "$@"
