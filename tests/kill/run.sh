#!/usr/bin/env bash
# Kill trainings N times at random moments; exit code 1 if one of them ends with other bits.
#
#   bash tests/kill/run.sh [N] [--settings sft,ppo_two] [--seed 1]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
kills="${1:-500}"
shift || true
start tests/kill/kills.py -- --kills "$kills" --work "$(mktemp -d)/kills" "$@"
