#!/usr/bin/env bash
# Trained models in the browser: chat, blind comparison with votes, the run's report. See README.md here.
# Machine: any; a GPU is used if there is one.
#
#   bash applications/web_demo/run_web_demo.sh [MODELS] [REWARD] [--flag value ...]
#   bash applications/web_demo/run_web_demo.sh output/quickstart/ppo                       # one model: no comparison
#   bash applications/web_demo/run_web_demo.sh "new=output/my/ppo old=output/quickstart/ppo" output/my/reward
#
# MODELS: one or two, [NAME=]FOLDER or openai:MODEL@URL. Every setting can also be given in the environment (PORT=8080
# bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional MODEL REWARD_MODEL -- "$@"
shift "$TAKEN"

RUN="$KORLHF_ROOT/output/quickstart"
[[ -n "${MODEL:-}" ]] || REWARD_MODEL="${REWARD_MODEL-$RUN/reward}"  # that of the default models
MODEL="${MODEL:-$RUN/ppo
$RUN/sft}"                                                        # several: one per line, or without spaces in their paths
REWARD_MODEL="${REWARD_MODEL:-}"                                  # reward model whose score is shown; empty: none
VOTES="${VOTES:-$KORLHF_ROOT/output/web_demo/votes.jsonl}"  # votes are added to it; step 2 reads it by --data_path
RATINGS="${RATINGS-$KORLHF_ROOT/output/web_demo/ratings.jsonl}"  # thumbs up and down are added to it; empty: none
REPORT="${REPORT:-}"  # empty: report.html next to the first model's folder, if it is there
SYSTEM="${SYSTEM:-}"                                              # system message at first, a text or a file
LANGUAGE_OF_PAGE="${LANGUAGE_OF_PAGE:-auto}"  # ko or en, auto: the browser's; each visitor can switch
AI_NOTICE="${AI_NOTICE:-auto}"  # what visitors are told before they talk; off: nothing, see ../COMPLIANCE.md
GUARD="${GUARD:-rules:crisis}"  # what looks for a crisis in messages, to show helplines; off: nothing does
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # at first; 0: greedy
TOP_P="${TOP_P:-1.0}"                                             # nucleus sampling at first; 1: off
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-256}"                           # longest answer in tokens
HOST="${HOST:-127.0.0.1}"                                         # 0.0.0.0: other machines can come in
PORT="${PORT:-7860}"
AUTH_FILE="${AUTH_FILE:-}"  # names and passwords (label/add_annotator.py); empty: all may come in

# The environment's LANGUAGE is the system's; hence the other name.
start applications/web_demo/web_demo.py MODEL... REWARD_MODEL VOTES RATINGS REPORT SYSTEM TEMPERATURE TOP_P MAX_NEW_TOKENS \
    HOST PORT AUTH_FILE AI_NOTICE GUARD -- --language "$LANGUAGE_OF_PAGE" "$@"
