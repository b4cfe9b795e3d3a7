# Sourced by run_all.sh: its flags, what is missing, and how a stage runs. A recipe is gone through three times: for the
# names of its stages, for what is missing and the plan, and to run it.

FROM="" TO="" DRY="" PASS="" NAMES=() MISSING=() FIRST=0 LAST=0 PID="" STOPPED="" STOPS=0
while [[ $# -gt 0 ]]; do
    [[ "$1" != --*=* ]] || set -- "${1%%=*}" "${1#*=}" "${@:2}"
    case "$1" in
        --dry_run) DRY=1; shift; continue ;;
        -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
        --from | --to | --only | --output_dir | --seed) [[ -n "${2:-}" ]] || fail "$1: its value is missing" ;;
        *) fail "$1: no such flag; there are --dry_run --from --to --only --output_dir --seed; see --help" ;;
    esac
    case "$1" in
        --from) FROM="$2" ;;
        --to) TO="$2" ;;
        --only) FROM="$2" TO="$2" ;;
        --output_dir) RUN="$2" ;;
        --seed) SEED="$2" ;;
    esac
    shift 2
done
case "$RECIPE" in
    sample) CHAIN=sample NAME=run_sample ;;
    quickstart) CHAIN=quickstart NAME=quickstart ;;
    bot) CHAIN=bot NAME="run_bot_$(basename "$BASE")" ;;
    algorithms) CHAIN=algorithms NAME=run_algorithms ;;
    v1 | v2 | v3) CHAIN=corpora NAME="run_${RECIPE}_$MODEL" ;;
    *) fail "RECIPE=$RECIPE: no such recipe; there are sample, quickstart, bot, algorithms, v1, v2, v3" ;;
esac
[[ " ppo grpo rloo reinforce dpo " == *" $ALGORITHM "* ]] \
    || fail "ALGORITHM=$ALGORITHM: no such algorithm; there are ppo, grpo, rloo, reinforce, dpo"
RUN="${RUN:-$KORLHF_ROOT/output/$NAME}"
[[ "$RUN" == /* ]] || RUN="$PWD/$RUN"
RESULT="the report, with everything on one page: $RUN/report.html"  # the last line of a whole run
export SEED
export -n RECIPE MODEL ALGORITHM RUN BASE REWARD_BASE LABELS MODELS MINUTES OWN_DATA  # scripts may mean something else by these
need_python

place() {  # the number of a stage, from 0
    local i
    for i in "${!NAMES[@]}"; do [[ "${NAMES[$i]}" != "$1" ]] || { echo "$i"; return; }; done
    fail "$1: no such stage; there are ${NAMES[*]}"
}

asked_for() {
    local number
    number="$(place "$1")"
    ((FIRST <= number && number <= LAST))
}

need() { [[ "$PASS" != plan ]] || ! asked_for "$1" || MISSING+=("$1: $2"); }  # STAGE TEXT

need_model() {  # STAGE VARIABLE: which is empty, a model's folder or a hub name
    local model="${!2}"
    [[ -z "$model" || -f "$model/config.json" || -f "$model/adapter_config.json" ]] && return
    [[ ! -d "$model" && "$model" =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ ]] \
        || need "$1" "$2=$model: no config.json there; give the folder of a model, or its name on the hub"
}

need_corpora() {  # what the settings at the top of data_prep's recipe name, and the key of its servers
    local line
    while IFS= read -r line; do need data "$line"; done < <(
        eval "$(grep -hsE '^[A-Z_]+="\$\{' "$KORLHF_ROOT"/data_prep/run_{recipe,"$RECIPE"}.sh)"
        for name in NIKL AIHUB ENGLISH EVOL SEEDS; do
            while IFS= read -r path; do
                [[ -z "$path" || -e "$path" ]] || echo "$name: $path: not there; set $name (empty: go without it)"
            done <<<"${!name}"
        done
        asked="${ENGLISH:+$TRANSLATOR} ${AIHUB:+$CORRECTOR} ${SEEDS:+$GENERATOR}"
        if [[ "$RECIPE" == v1 ]]; then asked+=" $JUDGE"; else asked+=" $CHATGPT"; fi
        [[ -n "$BASE_URL${OPENAI_API_KEY:-}" || ! " $asked" =~ \ openai:[^@\ ]+(\ |$) ]] \
            || echo "OPENAI_API_KEY: not set, and BASE_URL names no other server"
    )
    while IFS= read -r line; do
        [[ -z "$line" || -f "$line" ]] || need pairs "LABELS: $line: not there; give files of labels, one per line"
    done <<<"$LABELS"
}

stop() {  # SIGNAL CODE: to all processes of the stage; the second time TERM, then KILL
    local signals=("$1" TERM KILL)
    STOPS=$((STOPS + 1)) STOPPED="${STOPPED:-$2}"
    [[ -z "$PID" ]] || kill "-${signals[$((STOPS < 3 ? STOPS - 1 : 2))]}" -- "-$PID" 2>/dev/null || true
}

run() {  # LOG COMMAND...: in a process group of its own, its output to the terminal and LOG; returns its exit code
    local log="$1" tee code=0 i
    shift
    [[ ! -t 1 ]] || local -x KORLHF_TERMINAL=1  # for the bars of korlhf/core/progress.py
    exec 6> >(trap '' INT TERM HUP; keep "$log")
    tee=$!
    set -m
    "$@" </dev/null >&6 2>&1 6>&- &
    PID=$!
    set +m
    exec 6>&-
    [[ -z "$STOPPED" ]] || kill -TERM -- "-$PID" 2>/dev/null || true  # a signal came before it was there
    wait "$PID" 2>/dev/null || code=$?
    while [[ -n "$STOPPED" ]] && kill -0 "$PID" 2>/dev/null; do  # a signal ended `wait`, not the stage
        wait "$PID" 2>/dev/null || true
    done
    for ((i = 0; i < 100; i++)); do kill -TERM -- "-$PID" 2>/dev/null || break; sleep 0.1; done  # what it left running
    kill -KILL -- "-$PID" 2>/dev/null || true
    PID=""
    wait "$tee" || true
    return "$code"
}

stage() {  # NAME MARK COMMAND...: one stage; MARK is the file that it writes last
    local name="$1" mark="$2" log="$RUN/logs/$1.log" flags more=() title state="to do" began code=0
    shift 2
    [[ "$PASS" != names ]] || { NAMES+=("$name"); return 0; }
    flags="$(tr a-z A-Z <<<"$name")_FLAGS" title="[$(($(place "$name") + 1))/${#NAMES[@]}] $name"
    IFS=$' \t\n' read -r -d '' -a more <<<"${!flags:-}" || true
    set -- "$@" ${more[@]+"${more[@]}"}
    [[ ! -f "${mark%/*}/settings.json" ]] || state=begun
    [[ ! -f "$mark" ]] || state=finished
    [[ -z "$FROM" ]] || state=anew
    asked_for "$name" || state="not asked for"
    if [[ "$PASS" == plan && -n "$DRY" ]]; then
        echo "$title: $state"
        [[ "$state" == "not asked for" ]] || printf '   %s\n' "$(printf ' %q' "$@")"
    fi
    [[ "$PASS" == run && "$state" != "not asked for" ]] || return 0
    [[ "$name$state" != initfinished ]] || { echo "$title: kept"; return 0; }
    [[ -z "$STOPPED" ]] || { echo "stopped before $title"; exit "$STOPPED"; }

    [[ "$mark" != */finished.json ]] || clock "$name" "$state"
    printf '\n%s\n' "$title"
    printf '== %s %s\n' "$(date '+%F %T')" "$(printf ' %q' "$@")" >>"$log"
    touch "$RUN/logs/started"
    began="$SECONDS"
    run "$log" "$@" || code=$?
    [[ "$mark" != */finished.json ]] || clock "$name" ended
    local again="start the same command again to resume${FROM:+, without --from and --only}"
    [[ -z "$STOPPED" ]] || { echo "$title: stopped; $again"; exit "$STOPPED"; }
    if [[ "$code" != 0 ]]; then
        [[ "$mark" != */finished.json ]] || again+=", or with --from $name to train it and all after it anew"
        echo "error: stage $title ended with exit code $code; log: $log; put it right and $again" >&2
        exit "$code"
    fi
    if [[ ! -f "$mark" || ("$mark" != */finished.json && "$RUN/logs/started" -nt "$mark") ]]; then
        echo "stage $title has not written $mark: its last lines say what it waits for; then $again" >&2
        exit 4
    fi
    echo "$title: done in $((SECONDS - began)) s"
}

training() {  # NAME FOLDER SCRIPT WORD...
    stage "$1" "$2/finished.json" bash "${@:3}" --seed "$SEED" ${FROM:+--overwrite_output_dir}
}

# clock NAME STATE: the seconds of a training in all its starts until it is finished, into RUN/stages.json for the
# report. At the beginning of a start its STATE, at its end `ended`. NAME.seconds holds those of earlier starts, and
# when the present one began; of a start that was killed the log's last line tells how far it came.
clock() {
    local file="$RUN/logs/$1.seconds" log="$RUN/logs/$1.log" total=0 began="" until json="" name
    until="$(date +%s)"
    [[ "$2" != anew ]] || rm -f "$file"
    [[ ! -f "$file" ]] || read -r total began <"$file" || true
    [[ "$2" == ended || ! -f "$log" ]] || until="$(date -r "$log" +%s)"
    [[ -z "$began" || "$until" -lt "$began" ]] || total=$((total + until - began))
    began="$(date +%s)"
    [[ "$2" != ended && "$2" != finished ]] || began=""
    echo "$total $began" >"$file.part"
    mv "$file.part" "$file"
    while IFS= read -r file; do  # the oldest first; with those of other algorithms
        name="$(basename "$file" .seconds)"
        read -r total began <"$file" || true
        json+="${json:+,}"$'\n'"  \"$name\": {\"seconds\": $total}"
    done < <(ls -tr "$RUN"/logs/*.seconds)
    printf '{%s\n}\n' "$json" >"$RUN/stages.json.part"
    mv "$RUN/stages.json.part" "$RUN/stages.json"
}

run_stages() {  # RECIPE: a function that calls `stage` and `training`
    PASS=names
    "$1"
    FIRST=0 LAST=$((${#NAMES[@]} - 1))
    [[ -z "$FROM" ]] || FIRST="$(place "$FROM")"
    [[ -z "$TO" ]] || LAST="$(place "$TO")"
    ((FIRST <= LAST)) || fail "--from $FROM --to $TO: $TO comes before $FROM"
    PASS=plan
    "$1"
    [[ ${#MISSING[@]} == 0 ]] || { printf 'MISSING  %s\n' "${MISSING[@]}"; fail "it cannot start: see MISSING above"; }
    [[ -z "$DRY" ]] || return 0
    mkdir -p "$RUN/logs" || fail "RUN=$RUN: cannot be made; give another folder"
    exec 7>"$RUN/logs/lock"
    ! command -v flock >/dev/null || flock -n 7 || fail "RUN=$RUN: another run, or what it left, is at work there"
    trap 'stop INT 130' INT
    trap 'stop TERM 143' TERM
    trap 'stop HUP 129' HUP
    PASS=run
    "$1"
    ((LAST < ${#NAMES[@]} - 1)) || echo "$RESULT"
}
