#!/usr/bin/env bash
# One HTML page of a whole run, in Korean and English: what was trained on what, curves, results, answers side by side, warnings first.
# Machine: any; no model is loaded. What the run does not have yet is named in the page, with the command that makes it.
#
#   bash run_report.sh [RUN] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (TITLE="첫 실험" bash ...); flags after the positional words win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../training/launch.sh"
positional RUN OUTPUT -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # folder of the run: sft/, reward/, ppo/ and the like lie in it
OUTPUT="${OUTPUT:-$RUN/report.html}"                              # the page
RESULTS="${RESULTS:-}"                                            # folder of the evaluations' results; empty: eval in RUN
TITLE="${TITLE:-}"                                                # heading; empty: the name of the run's folder

evaluate report --run_dir "$RUN" --eval_dir "$RESULTS" --output "$OUTPUT" --title "$TITLE" "$@"
