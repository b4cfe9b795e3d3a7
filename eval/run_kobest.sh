#!/usr/bin/env bash
# What models choose in KoBEST's tasks (and any other of lm-evaluation-harness), beside what guessing gets on the same items.
# Machine: any; a GPU is used if there is one.
#
#   bash run_kobest.sh [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (DATA_DIR= TASKS="kobest kmmlu" bash ...); flags after the positional words win.
# What was finished when a run was stopped is not measured again: start the same command once more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../training/launch.sh"
positional MODELS OUTPUT -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
MODELS="${MODELS:-base=$RUN/base
sft=$RUN/sft
ppo=$RUN/ppo}"                                                    # [NAME=]FOLDER of steps 1 or 3, LoRA folder, hub name; one a line
OUTPUT="${OUTPUT:-$RUN/eval}"                                     # folder of the results
DATA_DIR="${DATA_DIR-$KORLHF_ROOT/samples/kobest}"                # local files in the hub's format; DATA_DIR= (empty): the hub's KoBEST
TASKS="${TASKS:-copa hellaswag}"                                  # also boolq sentineg wic, or the harness's names: kmmlu haerae click ...
SHOTS="${SHOTS:-0}"                                               # solved examples before each item
CHAT_TEMPLATE="${CHAT_TEMPLATE:-0}"                               # 1: ask in the model's chat template
LIMIT="${LIMIT:-0}"                                               # only the first so many items of each task; 0 = all
BATCH="${BATCH:-16}"                                              # options in a forward pass
SEED="${SEED:-1234}"

words FOLDERS "$MODELS"
words NAMES "$TASKS"
CHAT=()
[[ "$CHAT_TEMPLATE" == 0 ]] || CHAT=(--apply_chat_template)
evaluate kobest --model_name_or_path "${FOLDERS[@]}" --tasks "${NAMES[@]}" ${DATA_DIR:+--data_dir "$DATA_DIR"} --num_fewshot "$SHOTS" \
    ${CHAT[@]+"${CHAT[@]}"} --limit "$LIMIT" --batch_size "$BATCH" --seed "$SEED" --output_dir "$OUTPUT" "$@"
