#!/usr/bin/env bash
# The whole road on real clips: extract, train, convert, evaluate.
#   bash scripts/real_clips.sh MINUTES SOURCE TARGET EVAL
# SOURCE, TARGET and EVAL are each a clip, a folder or a quoted pattern; EVAL is one clip that
# training never saw. Leaves workspace/real/swap.mp4 and workspace/real/report.json.
# OUT=FOLDER and CONFIG=NAME change the place and the preset.
set -euo pipefail
if [ $# -ne 4 ]; then
    echo "usage: bash scripts/real_clips.sh MINUTES SOURCE TARGET EVAL" >&2
    exit 2
fi
STARTED_IN="$PWD"
source "$(dirname "$0")/environment.sh" "dlib"
minutes="$1"
# Paths are the caller's, and this script has moved to the project's folder.
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$STARTED_IN/$1" ;; esac; }
source_clips="$(absolute "$2")"
target_clips="$(absolute "$3")"
mapfile -t clips < <(compgen -G "$(absolute "$4")")
if [ ${#clips[@]} -ne 1 ]; then
    echo "error: EVAL must name one clip; $4 names ${#clips[@]}" >&2
    exit 1
fi
clip="${clips[0]}"
out="${OUT:-workspace/real}"
config="${CONFIG:-quick128}"
run=("$BIN/faceswap-lite")
"${run[@]}" extract "$source_clips" --out "$out/source_faces" --config "$config"
"${run[@]}" extract "$target_clips" --out "$out/target_faces" --config "$config"
"${run[@]}" train --source "$out/source_faces" --target "$out/target_faces" --run "$out/run" \
    --config "$config" --minutes "$minutes"
"${run[@]}" convert --run "$out/run" --clip "$clip" --out "$out/swap.mp4" --overwrite
"${run[@]}" evaluate --run "$out/run" --clip "$clip" --converted "$out/swap.mp4" \
    --out "$out/report.json" --overwrite
