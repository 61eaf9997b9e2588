#!/usr/bin/env bash
# All checks, from nothing: environment, style, types, import order, tests.
# Options are passed on to pytest: bash scripts/test.sh -k media
set -euo pipefail
source "$(dirname "$0")/environment.sh" "dev,dlib,c2pa,interchange"
"$BIN/ruff" check .
"$BIN/ruff" format --check .
"$BIN/mypy"
"$BIN/lint-imports"
exec "$BIN/python" -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not gpu" "$@"
