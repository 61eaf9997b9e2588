#!/usr/bin/env bash
# The whole road on rendered actors, from nothing: environment, render, extract, train, convert,
# evaluate. dlib is for your own clips later: `evaluate`'s judge of identity. Options are passed on: bash scripts/demo.sh --minutes 10
set -euo pipefail
source "$(dirname "$0")/environment.sh" "dlib"
exec "$BIN/faceswap-lite" demo "$@"
