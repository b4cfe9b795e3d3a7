#!/usr/bin/env bash
# Step 2, DPO: Kanana 2 3B after step 1, with LoRA.
# Machine: one GPU of 24 GB (9.6 GiB by --estimate_memory, taken to have the shape of Llama 3.2 3B).
# Kanana 2 1.3B comes with Python code of its own (sliding windows). Read that code, then:
#   RUN_NAME=kanana_1.3b bash run_3b_lora.sh \
#       --trust_remote_code --lora_module_name all-linear
#
#   bash run_3b_lora.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# All other settings stand in ../other/run_any_model.sh; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
export RUN_NAME="${RUN_NAME:-kanana_3b}"  # stands in the names of the folders
exec bash "$(dirname "${BASH_SOURCE[0]}")/../other/run_any_model.sh" "$@"
