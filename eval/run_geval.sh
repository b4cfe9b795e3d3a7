#!/usr/bin/env bash
# G-Eval: the answers of several models to the same prompts, scored by a judge with the rubrics of data_prep, or by a reward model.
# Machine: any; a GPU is used if there is one.
#
#   bash run_geval.sh [MODELS] [JUDGE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (JUDGE=openai:gpt-4o bash ...); flags after the positional words win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../training/launch.sh"
positional MODELS JUDGE OUTPUT -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
MODELS="${MODELS:-base=$RUN/base
sft=$RUN/sft
ppo=$RUN/ppo}"                                                    # who answers, one a line: [NAME=]FOLDER, openai:MODEL@URL or FILE
JUDGE="${JUDGE:-reward_model:$RUN/reward}"                        # who scores: openai:MODEL@URL, checkpoint:FOLDER or reward_model:FOLDER
OUTPUT="${OUTPUT:-$RUN/eval}"                                     # folder of the results
DATA_PATH="${DATA_PATH:-sample/prompts}"                          # prompts: names or files; of a set with an evaluation split, that split
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # 0 = all
NUM_ANSWERS="${NUM_ANSWERS:-1}"                                   # answers a prompt
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers; 0 = greedy
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
JUDGE_SAMPLES="${JUDGE_SAMPLES:-5}"                               # forms an answer, where a server gives no token probabilities
RESCORE_SHARE="${RESCORE_SHARE:-0.1}"                             # of the answers, judged again to measure the judge's noise
SEED="${SEED:-1234}"

words RESPONDERS "$MODELS"
words DATA "$DATA_PATH"
evaluate geval --responder "${RESPONDERS[@]}" --data_path "${DATA[@]}" --max_prompts "$MAX_PROMPTS" --judge "$JUDGE" \
    --num_answers "$NUM_ANSWERS" --temperature "$TEMPERATURE" --max_new_tokens "$MAX_NEW_TOKENS" --judge_samples "$JUDGE_SAMPLES" \
    --rescore_share "$RESCORE_SHARE" --seed "$SEED" --output_dir "$OUTPUT" "$@"
