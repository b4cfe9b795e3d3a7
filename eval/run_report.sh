#!/usr/bin/env bash
# One HTML page of a whole run, in Korean and English, warnings first: what was trained on what, curves, results.
# Machine: any; no model is loaded. What the run does not have yet is named in the page, with the command that makes it.
#
#   bash run_report.sh [RUN] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (TITLE="첫 실험" bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional RUN_DIR OUTPUT -- "$@"
shift "$TAKEN"

RUN_DIR="${RUN_DIR:-${RUN:-$KORLHF_ROOT/output/quickstart}}"  # the run: folder of sft/, reward/, ppo/ and the like
OUTPUT="${OUTPUT:-$RUN_DIR/report.html}"                          # the page
EVAL_DIR="${EVAL_DIR:-}"  # folder of the evaluations' results; empty: eval in RUN_DIR
TITLE="${TITLE:-}"                                                # heading; empty: the name of the run's folder

start eval/report.py RUN_DIR EVAL_DIR OUTPUT TITLE -- "$@"
