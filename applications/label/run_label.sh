#!/usr/bin/env bash
# People choose among answers, in the browser: several at once, every label in an SQLite file. See README.md here.
# Machine: any; no GPU is used.
#
#   bash applications/label/run_label.sh [INPUT] [DATABASE] [--flag value ...]
#
# Every setting can also be given in the environment (PORT=8080 bash ...); flags at the end win. Start it again with the
# same DATABASE to continue; what is new in INPUT is added. Use one DATABASE per set of items: it keeps earlier ones.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional INPUT DATABASE -- "$@"
shift "$TAKEN"

INPUT="${INPUT-$KORLHF_ROOT/samples/reward.jsonl}"  # files of prompts with answers, one per line; empty: only continue
DATABASE="${DATABASE:-$KORLHF_ROOT/output/label/labels.sqlite}"   # items and labels
ANNOTATORS_PER_ITEM="${ANNOTATORS_PER_ITEM:-2}"                   # people who label each item
LEASE_MINUTES="${LEASE_MINUTES:-30}"                              # how long an item waits for who has it before them
GUIDELINES="${GUIDELINES-$KORLHF_ROOT/applications/label/guidelines.md}"  # Markdown beside the item; empty: none
DAILY_SHARE="${DAILY_SHARE:-50}"                                  # labels of a person's share of a day; 0: none
LANGUAGE_OF_PAGE="${LANGUAGE_OF_PAGE:-ko}"                        # ko or en, at first; each person can switch
HOST="${HOST:-127.0.0.1}"                                         # 0.0.0.0: other machines can come in
PORT="${PORT:-7870}"
AUTH_FILE="${AUTH_FILE:-}"  # names and passwords (add_annotator.py); empty: a name is enough
SEED="${SEED:-1234}"                                              # of the order in which answers are shown

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# The environment's LANGUAGE is the system's; hence the other name.
start applications/label/label.py INPUT... DATABASE ANNOTATORS_PER_ITEM LEASE_MINUTES GUIDELINES DAILY_SHARE HOST PORT \
    AUTH_FILE SEED -- --language "$LANGUAGE_OF_PAGE" "$@"
