#!/usr/bin/env bash
# Step 2, DPO: Gemma 3 1B after step 1, with LoRA.
# Machine: one GPU of 24 GB (4.2 GiB by --estimate_memory).
#
#   bash run_1b_lora.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# All other settings stand in ../other/run_any_model.sh; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
export RUN_NAME="${RUN_NAME:-gemma_1b}"  # stands in the names of the folders
exec bash "$(dirname "${BASH_SOURCE[0]}")/../other/run_any_model.sh" "$@"
