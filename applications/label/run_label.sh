#!/usr/bin/env bash
# People choose among answers, in the browser: several at once, every label in an SQLite file. See README.md here.
# Machine: any; no GPU is used.
#
#   bash applications/label/run_label.sh [INPUT] [DATABASE] [--flag value ...]
#
# Every setting can also be given in the environment (PORT=8080 bash ...); flags after the positional words win. Start it again with the
# same DATABASE to go on; what INPUT has anew is added. One DATABASE for each set of items: those of an earlier INPUT stay in it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../training/launch.sh"
positional INPUT DATABASE -- "$@"
shift "$TAKEN"

INPUT="${INPUT-$KORLHF_ROOT/samples/reward.jsonl}"                    # files of prompts with answers, one a line; empty: only go on
DATABASE="${DATABASE:-$KORLHF_ROOT/output/label/labels.sqlite}"       # items and labels
ANNOTATORS_PER_ITEM="${ANNOTATORS_PER_ITEM:-2}"                       # people who label each item
LEASE_MINUTES="${LEASE_MINUTES:-30}"                                  # how long an item waits for who has it before them
LANGUAGE_OF_PAGE="${LANGUAGE_OF_PAGE:-ko}"                            # ko or en, at first; each person can switch
HOST="${HOST:-127.0.0.1}"                                             # 0.0.0.0: other machines can come in
PORT="${PORT:-7870}"
AUTH_FILE="${AUTH_FILE:-}"                                            # names and passwords (add_annotator.py); empty: a name is enough
SEED="${SEED:-1234}"                                                  # of the order in which answers are shown

words FILES "$INPUT"
INPUTS=()
[[ ${#FILES[@]} -eq 0 ]] || INPUTS=(--input "${FILES[@]}")
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
become "applications/label/label.py" \
    ${INPUTS[@]+"${INPUTS[@]}"} \
    --database "$DATABASE" \
    --annotators_per_item "$ANNOTATORS_PER_ITEM" \
    --lease_minutes "$LEASE_MINUTES" \
    --language "$LANGUAGE_OF_PAGE" \
    --host "$HOST" \
    --port "$PORT" \
    ${AUTH_FILE:+--auth_file "$AUTH_FILE"} \
    --seed "$SEED" \
    "$@"
