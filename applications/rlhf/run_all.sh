#!/usr/bin/env bash
# From raw corpora to the report: the lists of commands below, one after the other. Stop it at any time and start it
# again: what is finished is left alone, a stopped training resumes, data_prep and evaluations replay from their caches.
#
#   bash run_all.sh --dry_run                the commands of the sample, what is finished or missing; starts nothing
#   bash run_all.sh                          the sample: no GPU, no network, no key
#   RECIPE=v1 MODEL=polyglot-ko-5.8b CORPORA=/corpora OPENAI_API_KEY=... bash run_all.sh
#   PPO_FLAGS="--kl_coef 0.2" EVAL_MAX_PROMPTS=200 bash run_all.sh
#   bash run_all.sh --from reward            this stage and all after it anew; --to STAGE stops after it; --only: both
#
# STAGE_FLAGS: flags for the program of a stage, split at spaces. EVAL_NAME: the variable NAME of eval/run_all.sh.
# Other variables (NIKL, BASE_URL ... of data_prep/run_$RECIPE.sh, SAVE_STEPS ... of trainings) reach all scripts.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"

RECIPE="${RECIPE:-sample}"           # sample, quickstart, bot (a real model by LoRA), algorithms, or v1, v2, v3 of data_prep
MODEL="${MODEL:-polyglot-ko-1.3b}"   # of v1 to v3: polyglot-ko-1.3b, -5.8b, -12.8b, kullm-5.8b, kullm-12.8b
ALGORITHM="${ALGORITHM:-ppo}"        # of the last training: ppo, grpo, rloo, reinforce or dpo
RUN="${RUN:-}"                       # folder of all results, also --output_dir; empty: in output/
SEED="${SEED:-1234}"                 # of every stage, also --seed
BASE="${BASE:-}"                     # folder of the base model; empty: the hub's, by MODEL
REWARD_BASE="${REWARD_BASE:-}"       # and of the reward model's
LABELS="${LABELS:-}"                 # v2 and v3: files of human labels, one per line
MINUTES="${MINUTES:-60}"             # bot: what all stages together may take
OWN_DATA="${OWN_DATA:-}"             # bot: data besides the sample, as of --data_path, separated by spaces or lines
TRAINING_SEEDS="${TRAINING_SEEDS:-1 2 3}"  # algorithms: of the trainings that are compared
ANSWERS="${ANSWERS:-2304}"           # algorithms: that each of them sees; step 3 takes 64 in a step, DPO 48
MODELS="${MODELS:-}"                 # sample: folder of sft/ and reward/ for data_prep; empty: they are trained
source "$KORLHF_ROOT/applications/rlhf/stages.sh"

PROMPT_EVAL="$KORLHF_ROOT/training/step1_supervised_finetuning/prompt_eval.py"
STEP1="$KORLHF_ROOT/training/step1_supervised_finetuning/training_scripts"
STEP2="$KORLHF_ROOT/training/step2_reward_model_finetuning/training_scripts"
STEP2_DPO="$KORLHF_ROOT/training/step2_dpo_finetuning/training_scripts"
STEP3="$KORLHF_ROOT/training/step3_rlhf_finetuning/training_scripts"
DATA="$RUN/data"

tiny_base() {
    stage init "$RUN/base_init/tokenizer_config.json" \
        python "$KORLHF_ROOT/samples/tiny_base.py" --output_dir "$RUN/base_init" --seed "$SEED"
    training base "$RUN/base" "$STEP1/tiny/run_base.sh" "$RUN/base" "" --model_name_or_path "$RUN/base_init"
}

data_prep() {  # STAGE MARK NAME=VALUE...: the recipe, with these settings
    stage "$1" "$2" env OUT="$DATA" "${@:3}" bash "$KORLHF_ROOT/data_prep/run_$RECIPE.sh"
}

sft() { training sft "$RUN/sft" "$STEP1/$1" "$RUN/sft" "" "${@:2}"; }  # SCRIPT FLAG...
reward() { training reward "$RUN/reward" "$STEP2/$1" "$RUN/reward" "" "${@:2}"; }

tuned() {  # SCRIPT FLAG...: the last training, into a folder of its name, or of AS
    local name="${AS:-$ALGORITHM}" flags=()
    local out="$RUN/$name"
    case "$ALGORITHM" in
        dpo) training "$name" "$out" "$STEP2_DPO/$1" "$out" "" --model_name_or_path "$RUN/sft" "${@:2}"; return ;;
        grpo | rloo) flags=(--num_generations "${NUM_GENERATIONS:-4}") ;;
    esac
    [[ "$ALGORITHM" == ppo ]] || flags+=(--advantage_estimator "$ALGORITHM")
    training "$name" "$out" "$STEP3/$1" "$RUN/sft" "$RUN/reward" "" "" "$out" ${flags[@]+"${flags[@]}"} "${@:2}"
}

evaluation() {  # NAME=VALUE...: settings of eval/run_all.sh; those of the user come last
    local name own=()
    for name in ${!EVAL_@}; do own+=("${name#EVAL_}=${!name}"); done
    stage eval "$RUN/report.html" env RUN="$RUN" OUTPUT="$RUN/eval" \
        MODELS="sft=$RUN/sft"$'\n'"$ALGORITHM=$RUN/$ALGORITHM" "$@" ${own[@]+"${own[@]}"} \
        bash "$KORLHF_ROOT/eval/run_all.sh"
}

# What data_prep made, for the trainings and for the evaluation (JUDGE and so on of the environment were for data_prep).
sft_data=(--data_path "$DATA/sft_train.jsonl" --eval_data_path "$DATA/sft_test.jsonl" --data_split 10,0,0)
reward_data=(--data_path "$DATA/reward_train.jsonl" --eval_data_path "$DATA/reward_test.jsonl" --data_split 0,10,0)
tuned_data=(--data_path "$DATA/prompts_train.jsonl" --eval_data_path "$DATA/prompts_test.jsonl" --data_split 0,0,10)
[[ "$ALGORITHM" != dpo ]] || tuned_data=("${reward_data[@]}")
eval_data=(JUDGE= TEMPERATURE= MAX_NEW_TOKENS=
    DATA_PATH="$DATA/prompts_test.jsonl" REWARD_DATA="$DATA/reward_test.jsonl"
    REWARD_TRAIN_DATA="$DATA/reward_train.jsonl" HELDOUT_DATA="$DATA/sft_test.jsonl")

recipe_quickstart() {
    tiny_base
    sft tiny/run_tiny.sh --model_name_or_path "$RUN/base"
    reward tiny/run_tiny.sh --model_name_or_path "$RUN/sft"
    tuned tiny/run_tiny.sh
    stage dialogues "$RUN/dialogues.md" python "$PROMPT_EVAL" --data_path sample/heldout_prompts \
        --model_name_or_path "$RUN/base" "$RUN/sft" "$RUN/$ALGORITHM" --max_prompts 12 --max_new_tokens 64 \
        --temperature 0.7 --top_p 0.9 --seed "$SEED" --output "$RUN/dialogues"
    stage summary "$RUN/summary.json" python "$KORLHF_ROOT/samples/summary.py" --output_dir "$RUN" \
        --algorithm "$ALGORITHM"
    evaluation MODELS="sft=$RUN/sft"$'\n'"base=$RUN/base"$'\n'"$ALGORITHM=$RUN/$ALGORITHM" \
        MAX_PROMPTS=150 MAX_NEW_TOKENS=64 BENCHMARK_DATA="$KORLHF_ROOT/samples/kobest" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
}

# PPO, RLOO, GRPO, REINFORCE and DPO of one SFT model: the same number of answers for all, sampled or (DPO) ranked.
recipe_algorithms() {
    local ALGORITHM SEED="$SEED" steps
    tiny_base
    sft tiny/run_tiny.sh --model_name_or_path "$RUN/base"
    reward tiny/run_tiny.sh --model_name_or_path "$RUN/sft"
    for SEED in $TRAINING_SEEDS; do
        for ALGORITHM in ppo rloo grpo reinforce dpo; do
            steps=$((ANSWERS / 64))
            [[ "$ALGORITHM" != dpo ]] || steps=$((ANSWERS / 48))
            AS="${ALGORITHM}_$SEED" tuned tiny/run_tiny.sh --max_steps "$steps" --eval_interval 0
        done
    done
    stage table "$RUN/algorithms.png" python "$KORLHF_ROOT/eval/algorithms.py" --run_dir "$RUN"
    RESULT="the table of all algorithms: $RUN/algorithms.md"
}

recipe_bot() {  # a pretrained model by LoRA, on the sample and OWN_DATA; as many steps as fit into MINUTES
    local own=()
    words own "$OWN_DATA"
    need_model speed BASE
    [[ -n "$BASE" ]] || need speed "BASE is empty; give the folder of a pretrained model, or its name on the hub"
    stage speed "$RUN/budget/budget.json" python "$KORLHF_ROOT/applications/rlhf/budget.py" --seed "$SEED" \
        --model_name_or_path "$BASE" --minutes "$MINUTES" ${own[@]+--data_path "${own[@]}"} \
        --output_dir "$RUN/budget" ${FROM:+--overwrite}
    export {,ACTOR_,CRITIC_}GRADIENT_CHECKPOINTING=false
    chosen sft
    sft other/run_any_model.sh --model_name_or_path "$BASE" ${CHOSEN[@]+"${CHOSEN[@]}"}
    chosen reward  # from the SFT model, which knows the template
    reward other/run_any_model.sh --model_name_or_path "$RUN/sft" ${CHOSEN[@]+"${CHOSEN[@]}"}
    chosen "$ALGORITHM"
    tuned other/run_any_model.sh ${CHOSEN[@]+"${CHOSEN[@]}"}
    stage talks "$RUN/talks.json" python "$KORLHF_ROOT/applications/rlhf/talks.py" --seed "$SEED" --output_dir "$RUN" \
        --base "$BASE"
    RESULT="what it says, before and after: $RUN/talks.md; talk to it: bash applications/chat/run_chat.sh"
    RESULT+=" $RUN/$ALGORITHM"
}

chosen() {  # STAGE: CHOSEN becomes the flags that the stage `speed` has written for it, none before
    CHOSEN=()
    [[ ! -f "$RUN/budget/$1.flags" ]] || mapfile -t CHOSEN <"$RUN/budget/$1.flags"
}

recipe_sample() {
    local teachers="${MODELS:-$RUN/teachers}"
    tiny_base
    if [[ -z "$MODELS" ]]; then
        local words=("" --model_name_or_path "$RUN/base")
        training answerer "$teachers/sft" "$STEP1/tiny/run_tiny.sh" "$teachers/sft" "${words[@]}"
        training judge "$teachers/reward" "$STEP2/tiny/run_tiny.sh" "$teachers/reward" "${words[@]}"
    elif [[ ! -f "$MODELS/sft/finished.json" || ! -f "$MODELS/reward/finished.json" ]]; then
        need data "MODELS=$MODELS: holds no finished sft/ and reward/; give another, or none: they are trained here"
    fi
    data_prep data "$DATA/audit/audit.html" MODELS="$teachers"
    sft tiny/run_tiny.sh --model_name_or_path "$RUN/base" "${sft_data[@]}"
    reward tiny/run_tiny.sh --model_name_or_path "$RUN/sft" "${reward_data[@]}"
    tuned tiny/run_tiny.sh "${tuned_data[@]}"
    evaluation "${eval_data[@]}" BENCHMARK_DATA="$KORLHF_ROOT/samples/kobest"
}

recipe_corpora() {  # the model of step 1 answers the prompts of step 2, so data_prep runs in two halves
    local script reward_size before kept=("$DATA/sft_train.jsonl" "$DATA/prompts_train.jsonl")
    case "$MODEL" in
        polyglot-ko-1.3b) script=polyglot_ko/run_1.3b.sh reward_size=1.3b ;;
        polyglot-ko-5.8b) script=polyglot_ko/run_5.8b_lora.sh reward_size=5.8b ;;
        polyglot-ko-12.8b) script=polyglot_ko/run_12.8b_lora.sh reward_size=5.8b ;;
        kullm-5.8b) script=kullm/run_5.8b_lora.sh reward_size=1.3b ;;
        kullm-12.8b) script=kullm/run_12.8b_lora.sh reward_size=5.8b ;;
        *) fail "MODEL=$MODEL: no such model; there are polyglot-ko-1.3b, -5.8b, -12.8b, kullm-5.8b, kullm-12.8b" ;;
    esac
    need_corpora
    need_model sft BASE
    need_model reward REWARD_BASE
    data_prep data "$DATA/prompts_test.jsonl" SFT_MODEL="$DATA/not trained yet" LABELS=
    sft "$script" "${sft_data[@]}" ${BASE:+--model_name_or_path "$BASE"}
    before="$(cksum "${kept[@]}" 2>&1 || true)"
    data_prep pairs "$DATA/audit/audit.html" SFT_MODEL="$RUN/sft" LABELS="$LABELS"
    [[ "$before" == "$(cksum "${kept[@]}" 2>&1 || true)" ]] \
        || fail "the data of steps 1 and 3 came out otherwise (what had failed may have succeeded now); use --from sft"
    reward "polyglot_ko/run_$RECIPE.sh" "${reward_data[@]}" \
        --model_name_or_path "${REWARD_BASE:-EleutherAI/polyglot-ko-$reward_size}"
    tuned "$script" "${tuned_data[@]}"
    evaluation "${eval_data[@]}"
}

run_stages "recipe_$CHAIN"
