#!/usr/bin/env bash
# Trained models in the browser: chat, blind comparison with votes, the run's report. See README.md here.
# Machine: any; a GPU is used if there is one.
#
#   bash applications/web_demo/run_web_demo.sh [MODELS] [REWARD] [--flag value ...]
#   bash applications/web_demo/run_web_demo.sh output/quickstart/ppo                       # one model: no comparison
#   bash applications/web_demo/run_web_demo.sh "new=output/my/ppo old=output/quickstart/ppo" output/my/reward
#
# MODELS: one or two, [NAME=]FOLDER or openai:MODEL@URL. Every setting can also be given in the environment (PORT=8080 bash ...); flags win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../training/launch.sh"
positional MODELS REWARD -- "$@"
shift "$TAKEN"

RUN="$KORLHF_ROOT/output/quickstart"
if [[ -z "${MODELS:-}" ]]; then
    MODELS="$RUN/ppo"$'\n'"$RUN/sft"                             # several: one a line, or without spaces in their paths
    REWARD="${REWARD-$RUN/reward}"
fi
REWARD="${REWARD:-}"                                              # reward model whose score is shown; empty: none
VOTES="${VOTES:-$KORLHF_ROOT/output/web_demo/votes.jsonl}"        # votes are added to it; step 2 reads it by --data_path
REPORT="${REPORT:-}"                                              # empty: report.html beside the first model's folder, if it is there
SYSTEM="${SYSTEM:-}"                                              # system message, a text or a file
LANGUAGE_OF_PAGE="${LANGUAGE_OF_PAGE:-auto}"                      # ko or en, auto: the browser's; each visitor can switch
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # at first; 0: greedy
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-256}"                           # longest answer in tokens
HOST="${HOST:-127.0.0.1}"                                         # 0.0.0.0: other machines can come in
PORT="${PORT:-7860}"
AUTH_FILE="${AUTH_FILE:-}"                                        # names and passwords (label/add_annotator.py); empty: all may come in

words WORDS "$MODELS"
become "applications/web_demo/web_demo.py" \
    --model "${WORDS[@]}" \
    --reward_model "$REWARD" \
    --votes "$VOTES" \
    --report "$REPORT" \
    --system "$SYSTEM" \
    --language "$LANGUAGE_OF_PAGE" \
    --temperature "$TEMPERATURE" \
    --max_new_tokens "$MAX_NEW_TOKENS" \
    --host "$HOST" \
    --port "$PORT" \
    --auth_file "$AUTH_FILE" \
    "$@"
