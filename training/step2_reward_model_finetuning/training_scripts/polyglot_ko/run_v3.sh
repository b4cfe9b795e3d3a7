#!/usr/bin/env bash
# Recipe v3; the settings are in run_recipe.sh.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_recipe.sh" v3 "$@"
