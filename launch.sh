# shellcheck shell=bash
# Sourced by every run script: finds the project, its Python and the GPUs, makes flags of variables, starts the program.
#
#   source ".../launch.sh"
#   positional OUTPUT_DIR ZERO_STAGE -- "$@"; shift "$TAKEN"     the leading words of the command line
#   LORA_DIM="${LORA_DIM:-8}"                                    settings; each has the name of its flag
#   launch step1 OUTPUT_DIR DATA_PATH... GRADIENT_CHECKPOINTING? LORA_DIM -- "$@"
#
# `launch STEP` trains with training/STEP*/main.py; `start FILE.py` runs any other program. Each name becomes a flag:
#   NAME       --name "$NAME", or --name="$NAME" if it begins with --; no flag if it is empty
#   NAME...    --name WORD WORD ..., see `words`; no flag if it is empty
#   NAME?      --name for true or 1, no flag for false, 0 or empty
# What follows `--` goes to the program as it is, so it wins.
#
# What a user may set in the environment:
#   NUM_PROCESSES or NUM_GPUS   processes on this machine; default: one per visible GPU, or one without a GPU
#   HOSTFILE                    DeepSpeed hostfile: train on several machines (see multi_node/)
#   DEEPSPEED_ARGS              arguments of the deepspeed launcher, instead of a number of processes
#   MASTER_PORT                 port of the process group; default: a random one (with HOSTFILE: DeepSpeed's 29500)
#   OMP_NUM_THREADS             threads per process; default: processor cores / processes
#   RANK, WORLD_SIZE ...        set by torchrun (--no_python), or SLURM's variables by srun: this shell is one process of
#                               several already, and starts no launcher
#   KORLHF_VENV                 virtual environment; default: .venv of the project if it exists, else the python on PATH

KORLHF_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

fail() { echo "error: $*" >&2; exit 2; }

if [[ -n "${KORLHF_VENV:-}" && ! -x "$KORLHF_VENV/bin/python" ]]; then
    fail "KORLHF_VENV=$KORLHF_VENV has no bin/python;" \
        "run: KORLHF_VENV='$KORLHF_VENV' bash '$KORLHF_ROOT/setup.sh'"
fi
if [[ -x "${KORLHF_VENV:-$KORLHF_ROOT/.venv}/bin/python" ]]; then
    VIRTUAL_ENV="$(cd "${KORLHF_VENV:-$KORLHF_ROOT/.venv}" && pwd)"
    export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH"
    unset PYTHONHOME
fi
python=python
command -v python >/dev/null || python=python3
export PYTHONUTF8=1 TOKENIZERS_PARALLELISM=false

# Variables that were renamed: in the environment the old name still works, with a note. Each line: top folder, old
# name, and new names, of which a script has one.
renamed_variables() {
    local script folder old names new
    script="$(cd "$(dirname "$0")" && pwd)/$(basename "$0")"
    while read -r folder old names; do
        [[ -v "$old" && "$script" == "$KORLHF_ROOT/$folder"/* ]] || continue
        ! grep -Eq "^(export )?$old=" "$script" || continue
        for new in $names; do
            grep -q "^$new=" "$script" || continue
            [[ ! -v "$new" ]] || break
            printf -v "$new" %s "${!old}"
            echo "note: $old is now called $new" >&2
            break
        done
    done <<'END'
training      MODEL             MODEL_NAME_OR_PATH
training      BASELINE          MODEL_NAME_OR_PATH_BASELINE
training      FINETUNE          MODEL_NAME_OR_PATH_FINETUNE
training      ACTOR             ACTOR_MODEL_NAME_OR_PATH
training      CRITIC            CRITIC_MODEL_NAME_OR_PATH
training      OUTPUT            OUTPUT_DIR
training      TEMPLATE          PROMPT_TEMPLATE
training      BATCH             PER_DEVICE_TRAIN_BATCH_SIZE PER_DEVICE_GENERATION_BATCH_SIZE PER_DEVICE_EVAL_BATCH_SIZE
training      GENERATION_BATCH  PER_DEVICE_GENERATION_BATCH_SIZE
training      TRAINING_BATCH    PER_DEVICE_TRAINING_BATCH_SIZE
training      ACCUMULATION      GRADIENT_ACCUMULATION_STEPS
training      EPOCHS            NUM_TRAIN_EPOCHS
training      WARMUP            NUM_WARMUP_STEPS
training      WARMUP_STEPS      NUM_WARMUP_STEPS
training      EVAL_STEPS        EVAL_INTERVAL
eval          MODELS            RESPONDER MODEL_NAME_OR_PATH
eval          OUTPUT            OUTPUT_DIR
eval          RESULTS           EVAL_DIR
eval          KOBEST            BENCHMARK_DATA
eval          KOBEST_TASKS      BENCHMARK_TASKS
eval          KOBEST_LIMIT      BENCHMARK_LIMIT
eval          BATCH             BATCH_SIZE
eval          TEMPLATE          PROMPT_TEMPLATE
eval          SHOTS             NUM_FEWSHOT
eval          CHAT_TEMPLATE     APPLY_CHAT_TEMPLATE
applications  MODEL             MODEL_NAME_OR_PATH
applications  OUTPUT            OUTPUT_DIR
applications  REWARD            REWARD_MODEL
applications/web_demo  MODELS   MODEL
END
}
[[ ! -f "$0" ]] || renamed_variables

# positional NAME... -- WORD...: assign the leading WORDs to the variables NAME..., in order, up to the first word that
# begins with "--". An empty word leaves its variable as it is. TAKEN is the number of words taken: `shift "$TAKEN"`
# leaves the flags.
positional() {
    local names=() usage=""
    while [[ "$1" != -- ]]; do
        names+=("$1")
        usage+=" [$1]"
        shift
    done
    shift
    TAKEN=0
    while [[ $# -gt 0 && "$1" != --* ]]; do
        [[ "$TAKEN" -lt "${#names[@]}" ]] \
            || fail "$1: one word too many; usage: bash $(basename "$0")$usage [--flag value ...]"
        [[ -z "$1" ]] || printf -v "${names[$TAKEN]}" %s "$1"
        TAKEN=$((TAKEN + 1))
        shift
    done
}

# words ARRAY VALUE: split VALUE at white space into ARRAY; a VALUE that is itself an existing file or folder stays one
# word, and one that has line breaks is split at those alone.
words() {
    local separators=$' \t\n'
    [[ "$2" == *$'\n'* || -e "$2" ]] && separators=$'\n'
    IFS="$separators" read -r -d '' -a "$1" <<<"$2" || true
}

# as_flags NAME... -- WORD...: FLAGS becomes the flags of the variables NAME..., as said above, then the WORDs.
as_flags() {
    local name value several
    FLAGS=()
    while [[ $# -gt 0 && "$1" != --* ]]; do
        name="${1%%[.?]*}"
        [[ -v "$name" ]] || fail "$name has no value; set it at the top of $(basename "$0")"
        value="${!name}"
        case "$1" in
            *...)
                words several "$value"
                [[ ${#several[@]} == 0 ]] || FLAGS+=("--${name,,}" "${several[@]}")
                ;;
            *\?)
                [[ "$value" =~ ^(true|1|false|0|)$ ]] || fail "$name=$value: give true or false"
                [[ "$value" != true && "$value" != 1 ]] || FLAGS+=("--${name,,}")
                ;;
            *)
                if [[ "$value" == -* ]]; then
                    FLAGS+=("--${name,,}=$value")
                elif [[ -n "$value" ]]; then
                    FLAGS+=("--${name,,}" "$value")
                fi
                ;;
        esac
        shift
    done
    [[ "${1:-}" != -- ]] || shift
    FLAGS+=("$@")
}

# The packages are looked for and not imported, which would take seconds.
need_python() {
    local found="there is no python on PATH"
    local look='import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, ("korlhf", "torch"))))'
    if command -v "$python" >/dev/null; then
        ! "$python" -c "$look" >/dev/null 2>&1 || return 0
        found="$(command -v "$python") has not what this project needs"
    fi
    fail "run bash setup.sh first (in $KORLHF_ROOT): $found"
}

# start FILE NAME... -- WORD...: this shell turns into the project's Python program FILE.
start() {
    need_python
    as_flags "${@:2}"
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(cores)}"
    exec "$python" -u "$KORLHF_ROOT/$1" "${FLAGS[@]}"
}

cores() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN; }

# Number of NVIDIA GPUs that are visible to this shell.
visible_gpus() {
    command -v nvidia-smi >/dev/null || { echo 0; return; }
    if [[ -n "${CUDA_VISIBLE_DEVICES+set}" ]]; then
        local ids
        IFS=, read -ra ids <<<"${CUDA_VISIBLE_DEVICES}"
        [[ "${CUDA_VISIBLE_DEVICES}" == -1 ]] && ids=()
        echo "${#ids[@]}"
    else
        nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true
    fi
}

# Whether torchrun, srun or a user's own hand started this shell as one process of several; korlhf/core/ranks.py reads
# the same variables.
one_of_several() {
    [[ -z "${DEEPSPEED_ARGS:-}" ]] || return 1
    [[ -z "${RANK:-}" ]] || { [[ "${WORLD_SIZE:-}" != 1 ]]; return; }
    [[ "${SLURM_STEP_ID:-none}" =~ ^[0-9]+$ && "$SLURM_STEP_ID" -lt $((0xFFFFFFF0)) \
        && "${SLURM_STEP_NUM_TASKS:-${SLURM_NTASKS:-1}}" -gt 1 ]]
}

# choose_command MAIN: fill COMMAND, which starts MAIN: python itself for one process, or where other processes were
# started like this one, the deepspeed launcher for several. The launcher is called as a module: the script `deepspeed`
# of a virtual environment does not start when its path has a space.
choose_command() {
    local main="$1" count gpus name path port
    local launcher=("$python" -m deepspeed.launcher.runner --log_level critical)
    need_python
    gpus="$(visible_gpus)"
    name=NUM_PROCESSES
    [[ -z "${NUM_PROCESSES:-}" && -n "${NUM_GPUS:-}" ]] && name=NUM_GPUS
    count="${!name:-$((gpus > 0 ? gpus : 1))}"
    ! one_of_several || count="${LOCAL_WORLD_SIZE:-1}"  # SLURM's tasks see their own cores alone
    [[ "$count" =~ ^[1-9][0-9]*$ ]] || fail "$name=$count: give a number of processes of 1 or more"
    local threads=$(($(cores) / count))
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"

    if one_of_several; then
        COMMAND=("$python" -u "$main")
        return
    fi
    if [[ -n "${HOSTFILE:-}" ]]; then
        [[ -f "$HOSTFILE" ]] || fail "HOSTFILE=$HOSTFILE: no such file; one line for each machine: NAME slots=GPUS"
        # pdsh hands the command to a shell on each machine, unquoted.
        for path in "$PWD" "$main" "$(command -v "$python")"; do
            [[ "$path" =~ ^[^[:space:]\'\"\$\;\&\(\)]*$ ]] \
                || fail "$path: on several machines a path may not hold spaces or shell characters; move the folder"
        done
        # shellcheck disable=SC2206
        COMMAND=("${launcher[@]}" --hostfile "$HOSTFILE" ${MASTER_PORT:+--master_port "$MASTER_PORT"}
            ${DEEPSPEED_ARGS:-} "$main")
        return
    fi
    port=(--master_port "${MASTER_PORT:-$((20000 + RANDOM % 12000))}")
    if [[ -n "${DEEPSPEED_ARGS:-}" ]]; then
        [[ "$DEEPSPEED_ARGS" == *--master_port* ]] && port=()
        # shellcheck disable=SC2206
        COMMAND=("${launcher[@]}" "${port[@]}" $DEEPSPEED_ARGS "$main")
        return
    fi
    [[ "$gpus" == 0 || "$count" -le "$gpus" ]] \
        || fail "$name=$count, but $gpus GPUs are visible; set $name to at most $gpus"
    if [[ "$count" == 1 ]]; then
        COMMAND=("$python" -u "$main")
    elif [[ "$gpus" -gt 0 && -n "${CUDA_VISIBLE_DEVICES:-}" ]]; then
        # The launcher ignores CUDA_VISIBLE_DEVICES when it is given a number.
        CUDA_VISIBLE_DEVICES="$(cut -d, -f "1-$count" <<<"$CUDA_VISIBLE_DEVICES")"
        export CUDA_VISIBLE_DEVICES
        COMMAND=("${launcher[@]}" "${port[@]}" "$main")
    else
        COMMAND=("${launcher[@]}" "${port[@]}" --num_accelerators "$count" "$main")
    fi
}

# launch STEP NAME... -- WORD...: train with training/STEP*/main.py (step2: the reward model's) in the user's working
# directory. What it prints is also appended to training.log in --output_dir. Returns main.py's exit code; Ctrl-C, TERM
# and USR1 reach it.
#
# Older scripts write: launch FOLDER OUTPUT --flag value ...
launch() {
    local step="$1" main log output="" previous="" word
    shift
    [[ "$step" != step2 ]] || step=step2_reward
    main="$(echo "$KORLHF_ROOT/training/$step"*/main.py)"
    if [[ "$step" == */* ]]; then
        main="$step/main.py"
        set -- --output_dir "$@"
    fi
    [[ -f "$main" ]] || fail "launch $step: there is no $main"
    choose_command "$main"
    as_flags "$@"
    COMMAND+=("${FLAGS[@]}")
    for word in "${FLAGS[@]}"; do  # the last --output_dir counts
        [[ "$previous" != --output_dir ]] || output="$word"
        [[ "$word" != --output_dir=* ]] || output="${word#*=}"
        previous="$word"
    done
    mkdir -p "$output" || fail "--output_dir $output cannot be made; give another"
    log="$output/training.log"
    # On a shared disk several machines would write over each other's lines.
    [[ "${RANK:-${SLURM_PROCID:-0}}" == 0 ]] || ! one_of_several || log=/dev/null
    printf '== %s  OMP_NUM_THREADS=%s%s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$OMP_NUM_THREADS" \
        "$(printf ' %q' "${COMMAND[@]}")" >>"$log"
    run_logged "$log" "${COMMAND[@]}"
}

# run_logged LOG WORD...: run the command WORD... with its output on the terminal and appended to LOG; return its exit
# code.
#
# It runs next to this shell, which in a plain pipeline would heed a TERM only after the program's end. Its process id
# and then its exit code come through a pipe, whose end says that tee has written the last words: bash 5.2's `wait` and
# PIPESTATUS lose exit codes when a signal arrives just as the program ends. A trap only notes the signal: if it runs
# commands until the time of `read -t` is over, bash 5.2 leaves it half-way and aborts at the next `return`.
run_logged() {
    local log="$1" program="" code="" signal="" line="" part result
    shift
    [[ ! -t 1 ]] || local -x KORLHF_TERMINAL=1  # for the bars of korlhf/core/progress.py
    trap : INT  # Ctrl-C reaches the program by itself: wait for what it says
    trap signal=TERM TERM HUP
    trap signal=USR1 USR1
    exec 8>&1 9< <(
        trap '' INT TERM HUP USR1  # for tee; USR1 for DeepSpeed's launcher too, which would die of it
        set +e
        { {
            trap : INT TERM HUP
            (echo "$BASHPID" >&9; exec "$@" </dev/null 8>&- 9>&-)
            echo "$?" >&9
        } 2>&1 | keep "$log" >&8; } 9>&1
    )
    while result=0; read -r -t 0.2 part <&9 || result=$?; [[ "$result" == 0 || "$result" -gt 128 ]]; do
        line+="$part"
        if [[ "$result" == 0 ]]; then  # else the time is over, maybe within a line
            [[ -z "$program" ]] && program="$line" || code="$line"
            line=""
        fi
        [[ -z "$signal" ]] || pass_on
    done
    exec 8>&- 9<&-
    trap - INT TERM HUP USR1
    return "${code:-137}"  # no code: killed before it could tell
}

# keep LOG: what comes in goes out, and is appended to LOG. Of the progress bars that a terminal gets, LOG has what was
# last to be seen.
keep() {
    [[ "${KORLHF_TERMINAL:-}" == 1 ]] || exec tee -a "$1"
    tee >(exec sed -u 's/.*\r\(.\)/\1/; s/\r$//' >>"$1")
}

# For run_logged: `signal` to its program, once it is there. With DeepSpeed's launcher, whose outer process dies of a
# TERM and whose inner one gives the training 30 seconds, it goes to the training processes alone, where there are any.
pass_on() {
    [[ -n "$program" ]] || return 0
    local name="$signal" children grandchildren=""
    signal=""  # before it is sent: the next one may come meanwhile
    children="$(children_of "$program")"
    # shellcheck disable=SC2086
    [[ -n "${HOSTFILE:-}" || "$(tr '\0' ' ' <"/proc/$program/cmdline")" != *deepspeed.launcher* ]] 2>/dev/null \
        || grandchildren="$(children_of $children)"
    # shellcheck disable=SC2086
    kill -"$name" ${grandchildren:-$children "$program"} 2>/dev/null || true
}

# children_of PID...: the process ids of their children.
children_of() {
    local pid
    for pid; do cat "/proc/$pid/task/$pid/children" 2>/dev/null || true; done
}
