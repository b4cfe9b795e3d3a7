#!/usr/bin/env bash
# Corpora -> data_prep -> step 1 -> step 2 -> step 3 -> evaluations -> report. The plan comes first; what is up to date is skipped; a run
# that was stopped is started again with the same command.
#
#   bash run_all.sh --dry_run                             the plan of the sample: no GPU, no network, no key
#   bash run_all.sh
#   RECIPE=v1 MODEL=polyglot-ko-5.8b CORPORA=/corpora OPENAI_API_KEY=... bash run_all.sh
#   bash run_all.sh --set ppo.KL_COEF=0.2 eval.MAX_PROMPTS=200        settings of single stages: the names at the top of their scripts
#   bash run_all.sh --from reward                         this stage and all after it once more; also --to STAGE, --only STAGE
#
# Every setting can also be given in the environment. What data_prep/run_$RECIPE.sh reads (NIKL, AIHUB, BASE_URL, LABELS ...) is handed on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../training/launch.sh"

RECIPE="${RECIPE:-sample}"                              # sample, or v1, v2, v3 of data_prep with real corpora
MODEL="${MODEL:-polyglot-ko-1.3b}"                      # of v1 to v3: polyglot-ko-1.3b, -5.8b, -12.8b, kullm-5.8b, kullm-12.8b
if [[ "$RECIPE" == sample ]]; then NAME=sample; else NAME="${RECIPE}_$MODEL"; fi
RUN="${RUN:-$KORLHF_ROOT/output/run_$NAME}"             # data, models, logs, results and report.html
export SEED="${SEED:-1234}"                             # of every stage
export BASE="${BASE:-}"                                 # folder of the base model; empty: the hub's, by MODEL
export REWARD_BASE="${REWARD_BASE:-}"                   # and of the reward model
export MODELS="${MODELS:-}"                             # sample: sft/ and reward/ for data_prep (output/quickstart); empty: trained

need_python
exec python -u "$KORLHF_ROOT/applications/rlhf/pipeline.py" --recipe "$RECIPE" --model "$MODEL" --run_dir "$RUN" "$@"
