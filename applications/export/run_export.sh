#!/usr/bin/env bash
# A trained model -> a checked folder that others can use: LoRA merged, one dtype, safetensors, card, licence, template.
# Machine: any that holds the model twice in memory; a GPU is used if there is one.
#
#   bash run_export.sh [MODEL] [OUTPUT] [--flag value ...]
#   bash run_export.sh output/ppo output/export --license apache-2.0 --push_to_hub me/my-chatbot
#
# MODEL: a folder of step 1 or 3, or a LoRA folder. Every setting can also be given in the environment; flags win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional MODEL_NAME_OR_PATH OUTPUT_DIR -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/ppo}"  # what is exported
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/export}"            # a new or empty folder
DTYPE="${DTYPE:-auto}"                                            # fp32, bf16 or fp16; auto: as the weights are saved
LICENSE="${LICENSE:-}"  # e.g. apache-2.0; empty: what the base model's card says
BASE_MODEL="${BASE_MODEL:-}"  # hub name of the base, for the card; empty: as the trainings recorded it
CHECK_PROMPTS="${CHECK_PROMPTS:-20}"                              # how many prompts the check asks

start applications/export/export.py MODEL_NAME_OR_PATH OUTPUT_DIR DTYPE LICENSE BASE_MODEL CHECK_PROMPTS -- "$@"
