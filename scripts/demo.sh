#!/usr/bin/env bash
# The whole road on rendered actors, from nothing: environment, render, extract, train, convert,
# evaluate. Options are passed on: bash scripts/demo.sh --minutes 10
set -euo pipefail
source "$(dirname "$0")/environment.sh" ""
exec "$BIN/faceswap-lite" demo "$@"
