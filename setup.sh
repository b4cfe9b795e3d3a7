#!/usr/bin/env bash
# Set-up: a virtual environment with everything this project needs. Run it again at any time: it does nothing when nothing changed,
# and resumes where it was interrupted.
#
#   bash setup.sh
#   PYTHON=python3.12 bash setup.sh            another interpreter (3.11 or newer)
#   KORLHF_VENV=/path/to/venv bash setup.sh    another place than .venv (every script of the project honours it)
#   KORLHF_SYSTEM_SITE=1 bash setup.sh         see the interpreter's own packages too, and keep the CUDA torch that is installed there
#   KORLHF_DEV=1 bash setup.sh                 also what the tests and check.sh need (requirements-dev.txt)
#   KORLHF_TORCH_INDEX=URL bash setup.sh       an extra package index for torch; without an NVIDIA GPU the default is PyTorch's CPU index
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="${KORLHF_VENV:-$ROOT/.venv}"
PYTHON="${PYTHON:-python3}"
LOG="$VENV/setup.log"
STAMP="$VENV/.korlhf-ready"
DEV_STAMP="$VENV/.korlhf-dev-ready"
export PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1

fail() { echo "error: $*" >&2; exit 2; }
stage() { echo "[setup] $*"; }

# beat TITLE: every 30 s (KORLHF_BEAT: other seconds) how long it has been going on, and what pip said last.
beat() {
    local began="$SECONDS"
    while sleep "${KORLHF_BEAT:-30}" </dev/null >/dev/null 2>&1; do  # what a kill leaves of it keeps no pipe open
        stage "$1: $((SECONDS - began)) s so far; $(grep -v WARNING "$LOG" | tail -n 1 | cut -c 1-100)"
    done
}

# install TITLE WORD...: pip install WORD..., whose many lines go to the log; a line before, and one with what it took.
install() {
    local title="${1%%: *}" began="$SECONDS" before after code=0
    stage "$1"
    shift
    before="$(du -sm "$VENV" | cut -f 1)"
    printf '== %s pip install %s\n' "$(date '+%F %T')" "$*" >>"$LOG"
    beat "$title" 2>/dev/null &  # bash 5.2 may complain as it is killed
    BEAT=$!
    trap 'kill "$BEAT" 2>/dev/null || true' EXIT
    "$VENV/bin/python" -m pip install --progress-bar off "$@" >>"$LOG" 2>&1 || code=$?
    kill "$BEAT" 2>/dev/null || true
    wait "$BEAT" 2>/dev/null || true
    if [[ "$code" != 0 ]]; then
        tail -n 15 "$LOG" >&2
        fail "$title: pip failed; all that it said: $LOG; put it right and run bash setup.sh again, which goes on here"
    fi
    after="$(du -sm "$VENV" | cut -f 1)"
    stage "$title: done, $((after - before)) MB in $((SECONDS - began)) s"
}

command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not on this machine; install Python 3.11 or newer, or set PYTHON to it"
FOUND="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2], int(sys.version_info >= (3, 11)))')" \
    || fail "PYTHON=$PYTHON does not start"
[[ "${FOUND#* }" == 1 ]] || fail "PYTHON=$PYTHON is Python ${FOUND% *}; this project needs 3.11 or newer: set PYTHON=python3.12 or the like"

# The root path is part of the key: `pip install -e` points at it, so a moved folder is set up again.
KEY="$("$PYTHON" - "$ROOT" <<'PY'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
parts = [(root / name).read_bytes() for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml")] + [str(root).encode()]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
)"
ready() { [[ -x "$VENV/bin/python" && -f "$1" && "$(<"$1")" == "$KEY" ]]; }
done_with() { printf '%s\n' "$KEY" >"$1.new" && mv "$1.new" "$1"; }
tools() {
    [[ "${KORLHF_DEV:-0}" == 1 ]] || return 0
    ready "$DEV_STAMP" && return
    install "tools of the developers" -r "$ROOT/requirements-dev.txt"
    done_with "$DEV_STAMP"
}
if ready "$STAMP"; then
    tools
    stage "nothing has changed: $VENV is ready"
    exit 0
fi

stage "1/4 virtual environment in $VENV (Python ${FOUND% *})"
SITE=()
[[ "${KORLHF_SYSTEM_SITE:-0}" == 1 ]] && SITE=(--system-site-packages)
"$PYTHON" -m venv ${SITE[@]+"${SITE[@]}"} "$VENV" || fail "$PYTHON -m venv failed; on Debian or Ubuntu: apt install python3-venv"
rm -f "$STAMP" "$DEV_STAMP"  # written again at the very end: an interrupted set-up has none

REQUIREMENTS="$ROOT/requirements.txt"
GPU_TORCH='import torch; assert torch.version.cuda or torch.version.hip; print(torch.__version__)'
if TORCH="$("$VENV/bin/python" -c "$GPU_TORCH" 2>/dev/null)"; then
    stage "2/4 torch $TORCH with GPU support is there: kept"
    REQUIREMENTS="$VENV/requirements-without-torch.txt"
    grep -v '^torch==' "$ROOT/requirements.txt" >"$REQUIREMENTS"
else
    PINNED="$(grep '^torch==' "$ROOT/requirements.txt")"
    INDEX="${KORLHF_TORCH_INDEX:-}"
    if [[ -z "$INDEX" && "$(uname -s)" == Linux ]] && ! command -v nvidia-smi >/dev/null; then
        INDEX=https://download.pytorch.org/whl/cpu
        # Asked once, as pip would ask it five times for every package. (`pip index` finds torch in other indexes too.)
        if ! "$VENV/bin/python" -c 'import sys; from urllib.request import urlopen; urlopen(sys.argv[1], timeout=10)' \
            "$INDEX/torch/" >>"$LOG" 2>&1; then
            stage "$INDEX does not answer: torch comes from the usual index, maybe with the libraries of GPUs, which are large"
            INDEX=""
        fi
    fi
    install "2/4 $PINNED${INDEX:+ (extra index $INDEX)}" ${INDEX:+--timeout 15 --extra-index-url "$INDEX"} "$PINNED"
fi
# What is between two headings of requirements.txt is a group; the other groups' versions hold for what it brings.
mapfile -t GROUPS_OF < <(sed -n 's/^## //p' "$REQUIREMENTS")
for GROUP in "${GROUPS_OF[@]}"; do
    mapfile -t PACKAGES < <(sed -n "/^## $GROUP\$/,/^## /{/^#/d;/./p}" "$REQUIREMENTS")
    [[ ${#PACKAGES[@]} == 0 ]] || install "3/4 $GROUP: ${PACKAGES[*]%%==*}" -c "$REQUIREMENTS" "${PACKAGES[@]}"
done
install "4/4 this project (editable)" --no-deps -e "$ROOT"

done_with "$STAMP"
tools
stage "ready: $VENV"
