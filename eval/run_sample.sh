#!/usr/bin/env bash
# The evaluation of quickstart's models: base, SFT and PPO, with its reward model and the written rules as judges. No server, no network.
# Machine: any; 2 CPU cores are enough.
#
#   bash run_sample.sh [RUN] [OUTPUT]
#
# Every setting of run_all.sh can also be given in the environment (MAX_PROMPTS=300 bash ...). Stop it at any time and start it again to go on.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$HERE/../training/launch.sh"
positional RUN OUTPUT -- "$@"
shift "$TAKEN"
[[ $# == 0 ]] || fail "$1: this script takes no flags; see the variables of run_all.sh, or run one program's own script"

export RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"               # where quickstart.sh put its models
export OUTPUT="${OUTPUT:-$RUN/eval}"
export MODELS="${MODELS:-sft=$RUN/sft
base=$RUN/base
ppo=$RUN/ppo}"
export MAX_PROMPTS="${MAX_PROMPTS:-150}"                          # of the 300 held-out prompts
export MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-64}"                     # as in step 3
export KOBEST="${KOBEST-$KORLHF_ROOT/samples/kobest}"             # invented items in KoBEST's format
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"                    # the models are tiny: more threads only wait for each other
for stage in base sft reward ppo; do
    [[ -f "$RUN/$stage/config.json" ]] || fail "$RUN/$stage: there is no finished model; run: bash '$KORLHF_ROOT/quickstart.sh'"
done
exec bash "$HERE/run_all.sh"
