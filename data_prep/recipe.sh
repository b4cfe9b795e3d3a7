# shellcheck shell=bash disable=SC2153
# Sourced by every data_prep/run_*.sh: the stages of a recipe, over the variables at the top of the script.
#
# Every stage writes whole files only, and what is slow or paid for is in CACHE: a recipe that was stopped is started
# again with the same command, asks nothing twice, and ends with the same files. Stop it with Ctrl-C at any time.

source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
need_python

# SERVER: the flags of every stage that asks a server.
server_flags() {
    SERVER=(--base_url "$BASE_URL" --concurrency "$CONCURRENCY" --cache "$CACHE" --max_requests "$MAX_REQUESTS"
        --max_cost "$MAX_COST" --price_input "$PRICE_INPUT" --price_output "$PRICE_OUTPUT")
}

# stage PROGRAM FLAG...: run data_prep/PROGRAM.py.
stage() {
    local program="$1"
    shift
    printf '\n== %s\n' "$program $*"
    python -u "$KORLHF_ROOT/data_prep/$program.py" "$@"
}

# collect_corpus NAME CORPUS PATHS FLAG...: PATHS, one per line -> $OUT/collected/NAME.jsonl; nothing without paths.
collect_corpus() {
    local name="$1" corpus="$2" paths=()
    mapfile -t paths < <(grep . <<<"$3")
    shift 3
    [[ ${#paths[@]} -gt 0 ]] || { echo "no $name: its variable is empty"; return 0; }
    stage collect --corpus "$corpus" --input "${paths[@]}" --output "$OUT/collected/$name.jsonl" --seed "$SEED" "$@"
    COLLECTED+=("$OUT/collected/$name.jsonl")
}

# collect_everything: every corpus whose variable is set -> $OUT/collected/*.jsonl, listed in COLLECTED; English is
# translated, seed tasks grow.
collect_everything() {
    COLLECTED=()
    collect_corpus everyday nikl "$NIKL" --per_topic "$PER_TOPIC" --exchanges "$EXCHANGES" --history "$HISTORY" \
        --min_prompt_chars "$MIN_PROMPT_CHARS"
    collect_corpus ethics aihub "$AIHUB" --limit "$HARMFUL" --min_prompt_chars "$MIN_PROMPT_CHARS" \
        ${ETHICS:+--category "$ETHICS"}
    collect_corpus evol lcw99/evolve-instruct "$EVOL" --limit "$EVOL_LIMIT"
    correct_ethics
    translate_english
    grow_instructions
}

# correct_ethics: kind and correcting answers of CORRECTOR to the harmful utterances, so that SFT learns them. No
# CORRECTOR: prompts only.
correct_ethics() {
    [[ -n "$AIHUB" && -n "$CORRECTOR" ]] || return 0
    stage respond --as_output --input "$OUT/collected/ethics.jsonl" --output "$OUT/collected/corrected.jsonl" \
        --responder "$CORRECTOR" --system "$KORLHF_ROOT/data_prep/corrector.txt" --max_new_tokens "$MAX_NEW_TOKENS" \
        --rollout "$ROLLOUT" --vllm_args="$VLLM_ARGS" --seed "$SEED" "${SERVER[@]}"
    replace_collected ethics corrected
}

# translate_english: ENGLISH, a set of English pairs -> Korean.
translate_english() {
    [[ -n "$ENGLISH" ]] || return 0
    collect_corpus english "$ENGLISH_SET" "$ENGLISH" --limit "$TRANSLATED"
    stage translate --input "$OUT/collected/english.jsonl" --output "$OUT/collected/translated.jsonl" \
        --translator "$TRANSLATOR" --seed "$SEED" "${SERVER[@]}"
    replace_collected english translated
}

# grow_instructions: SEEDS, seed tasks -> SELF_INSTRUCT new instructions, and EVOLVE rounds of evolved ones.
grow_instructions() {
    [[ -n "$SEEDS" ]] || return 0
    collect_corpus seeds self-instruct/seed_tasks "$SEEDS"
    stage self_instruct --input "$OUT/collected/seeds.jsonl" --output "$OUT/collected/self_instruct.jsonl" \
        --num_instructions "$SELF_INSTRUCT" --generator "$GENERATOR" --seed "$SEED" "${SERVER[@]}"
    stage evol_instruct --input "$OUT/collected/seeds.jsonl" --output "$OUT/collected/evolved.jsonl" \
        --rounds "$EVOLVE" --generator "${EVOLVER:-$GENERATOR}" --seed "$SEED" "${SERVER[@]}"
    COLLECTED+=("$OUT/collected/self_instruct.jsonl" "$OUT/collected/evolved.jsonl")
}

# replace_collected OLD NEW: what a later stage made of a collected file takes its place.
replace_collected() {
    local i
    for i in "${!COLLECTED[@]}"; do
        [[ "${COLLECTED[$i]}" != "$OUT/collected/$1.jsonl" ]] || COLLECTED[i]="$OUT/collected/$2.jsonl"
    done
}

# clean FILE...: audit them, write audit_collected/audit.html, and leave the cleaned files in CLEANED.
clean() {
    stage audit --input "$@" --output "$OUT/audit_collected" --fix --seed "$SEED"
    CLEANED=()
    local file
    for file in "$@"; do
        CLEANED+=("$OUT/audit_collected/fixed/$(basename "$file")")
    done
}

# split_prompts: the cleaned records -> $OUT/parts/{sft,reward,prompts}_{train,test}.jsonl; SFT and PPO sets are final.
split_prompts() {
    stage split --input "${CLEANED[@]}" --output_dir "$OUT/parts" --shares "$SHARES" --test_share "$TEST_SHARE" \
        --seed "$SEED"
    local part
    for part in sft_train sft_test prompts_train prompts_test; do
        cp "$OUT/parts/$part.jsonl" "$OUT/$part.jsonl"
    done
}

# answer SIDE NUM_ANSWERS RESPONDER...: answers to the reward prompts of that SIDE, train or test.
answer() {
    stage respond --input "$OUT/parts/reward_$1.jsonl" --output "$OUT/answered/reward_$1.jsonl" --responder "${@:3}" \
        --num_answers "$2" --temperature "$TEMPERATURE" --max_new_tokens "$MAX_NEW_TOKENS" --rollout "$ROLLOUT" \
        --vllm_args="$VLLM_ARGS" --seed "$SEED" "${SERVER[@]}"
}

# need_sft_model: stop here, and say what to do, as long as the model of step 1 is not trained.
need_sft_model() {
    [[ -f "$SFT_MODEL/config.json" || -f "$SFT_MODEL/adapter_config.json" ]] && return
    [[ "$SFT_MODEL" =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ ]] && return
    cat <<END

The SFT set is ready: $OUT/sft_train.jsonl. Its model must answer the reward prompts next:
  1. train step 1 on it:
S1=training/step1_supervised_finetuning/training_scripts
DATA_PATH=$RECIPE/sft DATA_SPLIT=10,0,0 bash \$S1/$STEP1_SCRIPT '$SFT_MODEL'
  2. start this script again: what is done is not done twice.
END
    exit 0
}

# need_labels: LABELS, one file a line -> LABEL_FILES; stop here, and say what to do, as long as there are none.
need_labels() {
    mapfile -t LABEL_FILES < <(grep . <<<"$LABELS")
    [[ ${#LABEL_FILES[@]} -eq 0 ]] || return 0
    cat <<END

Both models have answered: $OUT/answered/reward_train.jsonl and reward_test.jsonl.
People must choose for everyday and harmful prompts:
  1. label them:
INPUT='$OUT/answered/reward_train.jsonl
$OUT/answered/reward_test.jsonl' DATABASE='$OUT/labels.sqlite' bash applications/label/run_label.sh
     then:
python applications/label/export.py --form labels --database '$OUT/labels.sqlite' --output '$OUT/labels.jsonl'
     or write them yourself; one line a label: see "Human labels" in data_prep/README.md
  2. start this script again with LABELS='$OUT/labels.jsonl': what is done is not done twice.
END
    exit 0
}

# audit_sets: the finished training sets together, with their overlaps -> $OUT/audit/audit.html
audit_sets() {
    stage audit --sft "$OUT/sft_train.jsonl" --reward "$OUT/reward_train.jsonl" --prompts "$OUT/prompts_train.jsonl" \
        --test "$OUT/sft_test.jsonl" "$OUT/reward_test.jsonl" "$OUT/prompts_test.jsonl" --output "$OUT/audit" \
        --seed "$SEED"
    cat <<END

Done. Training sets, by the names that --data_path knows:
  $RECIPE/sft      $(wc -l <"$OUT/sft_train.jsonl") + $(wc -l <"$OUT/sft_test.jsonl") held out
  $RECIPE/reward   $(wc -l <"$OUT/reward_train.jsonl") + $(wc -l <"$OUT/reward_test.jsonl") held out
  $RECIPE/prompts  $(wc -l <"$OUT/prompts_train.jsonl") + $(wc -l <"$OUT/prompts_test.jsonl") held out
Look at $OUT/audit/audit.html before you train on them.
END
}
