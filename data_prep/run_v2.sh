#!/usr/bin/env bash
# Recipe v2; what it does and its settings are in run_recipe.sh.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_recipe.sh" v2 "$@"
