#!/usr/bin/env bash
# Set-up, then base -> SFT -> reward model -> PPO on the embedded Korean sample, their evaluation and its report.
# Stop it at any time and start it again to resume; flags and variables are those of applications/rlhf/run_all.sh:
#
#   bash quickstart.sh [--output_dir FOLDER] [--seed NUMBER] [--dry_run] [--from STAGE] [--to STAGE] [--only STAGE]
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
bash "$ROOT/setup.sh"
RECIPE=quickstart exec bash "$ROOT/applications/rlhf/run_all.sh" "$@"
