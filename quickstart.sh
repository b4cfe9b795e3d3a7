#!/usr/bin/env bash
# Does everything work here? Set-up, then base -> SFT -> reward model -> PPO on the embedded Korean sample, their
# evaluation and its report: about 15 minutes. --quick: a few steps and evaluations, 2 minutes. With --base the same
# steps make a bot of a pretrained model, by LoRA, as long as --minutes. grpo, rloo, reinforce or dpo takes the place of
# PPO; SFT and reward model that are there already are used again. Stop it at any time and start it again to resume.
#
#   bash quickstart.sh [ppo|grpo|rloo|reinforce|dpo] [--quick]
#   bash quickstart.sh [ppo|grpo|rloo|reinforce|dpo] --base FOLDER_OR_HUB_NAME [--minutes 60] [--data FILE_OR_NAME ...]
#
# Besides: --output_dir FOLDER  --seed NUMBER  --dry_run  --from STAGE  --to STAGE  --only STAGE; variables are those of
# applications/rlhf/run_all.sh.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
fail() { echo "error: $*" >&2; exit 2; }

ALGORITHM=ppo QUICK="" BASE="" MINUTES="" OWN_DATA="" FOLDER="" REST=()
while [[ $# -gt 0 ]]; do
    [[ "$1" != --*=* ]] || set -- "${1%%=*}" "${1#*=}" "${@:2}"
    case "$1" in
        -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
        --quick) QUICK=1; shift; continue ;;
        ppo | grpo | rloo | reinforce | dpo) ALGORITHM="$1"; shift; continue ;;
        --dry_run) REST+=("$1"); shift; continue ;;
        --base | --minutes | --data | --output_dir) [[ -n "${2:-}" && "$2" != --* ]] || fail "$1: its value is missing" ;;
        *) REST+=("$1" ${2+"$2"}); shift $(($# > 1 ? 2 : 1)); continue ;;
    esac
    case "$1" in
        --base) BASE="$2" ;;
        --minutes) MINUTES="$2" ;;
        --output_dir) FOLDER="$2" ;;
        --data)
            while [[ $# -gt 1 && "$2" != --* ]]; do OWN_DATA+="$2"$'\n'; shift; done
            shift
            continue
            ;;
    esac
    shift 2
done
[[ -z "$QUICK" || -z "$BASE" ]] || fail "--quick is for the sample's tiny model; with --base give few --minutes"
[[ -n "$BASE" || -z "$MINUTES$OWN_DATA" ]] || fail "--minutes and --data are for a pretrained model: give --base too"
[[ "${MINUTES:=60}" =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--minutes $MINUTES: give a number of minutes"

export RECIPE=quickstart ALGORITHM
STEPS="base, SFT, reward model, ${ALGORITHM^^}"
if [[ -n "$BASE" ]]; then
    RECIPE=bot
    WHAT="a bot of $BASE: SFT, reward model and ${ALGORITHM^^} by LoRA, as many steps as fit into $MINUTES minutes" RESULT=talks.md
    FOLDER="${FOLDER:-${RUN:-$ROOT/output/bot_$(basename "$BASE")}}"
    export BASE MINUTES OWN_DATA
elif [[ -n "$QUICK" ]]; then
    WHAT="$STEPS, evaluation, a few steps each: 2 minutes on 2 cores, without set-up
   left out: most steps and prompts, so little is learnt; win rate, harmlessness, diversity, KoBEST"
    RESULT=report.html
    FOLDER="${FOLDER:-${RUN:-$ROOT/output/quick}}"
    short="--max_answer_seq_len 32 --per_device_generation_batch_size 16 --per_device_training_batch_size 16"
    for stage in BASE SFT REWARD "${ALGORITHM^^}"; do
        name="${stage}_FLAGS"
        case "$stage" in
            PPO | GRPO | RLOO | REINFORCE) few="--max_steps 2 $short" ;;
            *) few="--max_steps 8" ;;
        esac
        export "$name=$few --max_eval_examples 8 ${!name:-}"
    done
    export DIALOGUES_FLAGS="--max_prompts 6 --max_new_tokens 32 ${DIALOGUES_FLAGS:-}"
    export EVAL_PARTS="${EVAL_PARTS:-reward_accuracy geval}" EVAL_MAX_PROMPTS="${EVAL_MAX_PROMPTS:-8}"
else
    WHAT="$STEPS, evaluation of a tiny model: about 15 minutes on 2 cores" RESULT=report.html
    FOLDER="${FOLDER:-${RUN:-$ROOT/output/quickstart}}"
fi
VENV="${KORLHF_VENV:-$ROOT/.venv}"
if [[ -f "$VENV/.korlhf-ready" ]]; then SETUP="is there already"; else SETUP="to be made, about 2.4 GB of packages, a few minutes"; fi
cat <<END
1. set-up: $VENV ($SETUP)
2. $WHAT
result: $FOLDER/$RESULT
Ctrl-C stops it; the same command goes on where it was.

END
bash "$ROOT/setup.sh"
exec bash "$ROOT/applications/rlhf/run_all.sh" --output_dir "$FOLDER" ${REST[@]+"${REST[@]}"}
