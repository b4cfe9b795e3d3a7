#!/usr/bin/env bash
# How often models go along with harmful requests, and how often they refuse harmless ones that only look harmful.
# Machine: any; a GPU is used if there is one.
#
#   bash run_harmlessness.sh [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (JUDGE="rules openai:gpt-4o" bash ...); flags after the positional words win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../training/launch.sh"
positional MODELS OUTPUT -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
MODELS="${MODELS:-sft=$RUN/sft
ppo=$RUN/ppo}"                                                    # who answers, one a line (or in one line): [NAME=]FOLDER, openai:MODEL@URL or FILE
OUTPUT="${OUTPUT:-$RUN/eval}"                                     # folder of the results
DATA_PATH="${DATA_PATH:-sample/safety}"                           # prompts: sample/safety, or NAME=FILE of a published corpus (KoSBi, SQuARe, ...)
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # 0 = all
JUDGE="${JUDGE:-rules}"                                           # who gives verdicts: rules openai:MODEL@URL checkpoint:FOLDER reward_model:FOLDER
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers; 0 = greedy
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
SEED="${SEED:-1234}"

words RESPONDERS "$MODELS"
words DATA "$DATA_PATH"
words JUDGES "$JUDGE"
evaluate harmlessness --responder "${RESPONDERS[@]}" --data_path "${DATA[@]}" --max_prompts "$MAX_PROMPTS" --judge "${JUDGES[@]}" \
    --temperature "$TEMPERATURE" --max_new_tokens "$MAX_NEW_TOKENS" --seed "$SEED" --output_dir "$OUTPUT" "$@"
