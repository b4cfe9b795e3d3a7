#!/usr/bin/env bash
# Step 1, supervised fine-tuning: Qwen 3 4B, with LoRA.
# Machine: one GPU of 24 GB (10.1 GiB by --estimate_memory).
#
#   bash run_4b_lora.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# All other settings stand in ../other/run_any_model.sh; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
export RUN_NAME="${RUN_NAME:-qwen_4b}"  # stands in the names of the folders
export MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-Qwen/Qwen3-4B-Base}"  # hub name or folder
exec bash "$(dirname "${BASH_SOURCE[0]}")/../other/run_any_model.sh" "$@"
