#!/usr/bin/env bash
# Set-up, then the tests, in as many processes as there are cores. Arguments go to pytest:   bash test.sh tests/core -k removed
#   bash test.sh -m 'not slow'                   without real trainings and servers
#   bash test.sh -m long                         kills, lost processes, every way to spread a training: what takes a minute each
#   KORLHF_TEST_PROCESSES=0 bash test.sh        in one process, e.g. to use a debugger
#   KORLHF_REQUIRE_BROWSER=1 bash test.sh       fail where the tests in a browser would be skipped because there is no chromium
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$ROOT"
KORLHF_DEV=1 bash "$ROOT/setup.sh"
export PYTHONUTF8=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "${KORLHF_VENV:-$ROOT/.venv}/bin/python" -m pytest -q -n "${KORLHF_TEST_PROCESSES:-auto}" --maxprocesses 4 --dist loadgroup \
    --no-loadscope-reorder "$@"
