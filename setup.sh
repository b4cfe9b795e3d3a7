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
STAMP="$VENV/.korlhf-ready"
DEV_STAMP="$VENV/.korlhf-dev-ready"
export PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1

fail() { echo "error: $*" >&2; exit 2; }
stage() { echo "[setup] $*"; }

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
    stage "tools of the developers"
    "$VENV/bin/python" -m pip install --quiet -r "$ROOT/requirements-dev.txt"
    done_with "$DEV_STAMP"
}
if ready "$STAMP"; then
    tools
    stage "$VENV is ready"
    exit 0
fi

stage "1/4 virtual environment in $VENV (Python ${FOUND% *})"
SITE=()
[[ "${KORLHF_SYSTEM_SITE:-0}" == 1 ]] && SITE=(--system-site-packages)
"$PYTHON" -m venv ${SITE[@]+"${SITE[@]}"} "$VENV" || fail "$PYTHON -m venv failed; on Debian or Ubuntu: apt install python3-venv"
rm -f "$STAMP" "$DEV_STAMP"  # written again at the very end: an interrupted set-up has none
PIP=("$VENV/bin/python" -m pip install --quiet)

REQUIREMENTS="$ROOT/requirements.txt"
GPU_TORCH='import torch; assert torch.version.cuda or torch.version.hip; print(torch.__version__)'
if TORCH="$("$VENV/bin/python" -c "$GPU_TORCH" 2>/dev/null)"; then
    stage "2/4 torch $TORCH with GPU support is there: kept"
    REQUIREMENTS="$VENV/requirements-without-torch.txt"
    grep -v '^torch==' "$ROOT/requirements.txt" >"$REQUIREMENTS"
else
    PINNED="$(grep '^torch==' "$ROOT/requirements.txt")"
    INDEX="${KORLHF_TORCH_INDEX:-}"
    [[ -z "$INDEX" && "$(uname -s)" == Linux ]] && ! command -v nvidia-smi >/dev/null && INDEX=https://download.pytorch.org/whl/cpu
    stage "2/4 $PINNED${INDEX:+ (extra index $INDEX)}"
    "${PIP[@]}" ${INDEX:+--retries 1 --timeout 15 --extra-index-url "$INDEX"} "$PINNED"
fi

stage "3/4 requirements"
"${PIP[@]}" -r "$REQUIREMENTS"
stage "4/4 this project (editable)"
"${PIP[@]}" --no-deps -e "$ROOT"

done_with "$STAMP"
tools
stage "ready: $VENV"
