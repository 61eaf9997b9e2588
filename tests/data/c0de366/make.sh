#!/usr/bin/env bash
# Makes files.tar.xz, with the code of commit c0de366, in /tmp/made_at_c0de366:
#   git worktree add --detach /tmp/c0de366 c0de366
#   bash tests/data/c0de366/make.sh /tmp/c0de366
# PYTHON names the Python that has the packages. Only needs what pip brings: MTCNN, five points.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tree="$(cd "$1" && pwd)"
export PYTHONPATH="$tree" OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
unset FACESWAP_LITE_WEIGHTS
old() { "${PYTHON:-python}" -m faceswap_lite "$@"; }
rm -rf /tmp/made_at_c0de366
mkdir /tmp/made_at_c0de366
cd /tmp/made_at_c0de366
trap "rm -rf /tmp/made_at_c0de366" EXIT

# Two actors, 24 small faces each.
pack=(--set extract.detector=mtcnn --set extract.landmarks=five --set extract.embedder=none)
old render source.mp4 --actor bruno --twin null --seed 1 --frames 24 --set render.size=96
old render target.mp4 --actor ada --twin null --seed 2 --frames 24 --set render.size=96
old extract source.mp4 --out source "${pack[@]}" --set extract.size=48
old extract target.mp4 --out target "${pack[@]}" --set extract.size=48
old curate target

# The smallest networks that the options allow. Most of a checkpoint are decoders and what Adam
# keeps of them: frozen, they are the same in all its files, and pack well.
tiny=(
    --steps 20 "${pack[@]}" --set model.size=32 --set model.encoder_dims=4
    --set model.inter_dims=16 --set model.decoder_dims=4 --set model.mask_dims=2
    --set training.batch=4 --set training.lr=3e-3 --set training.warmup_steps=0
    --set training.keep=1 --set training.log_every=1 --set training.heldout_every=5
    --set training.threads=1 --set training.device=cpu --set training.precision=32-true
    --set init.freeze_steps=1000
)
df=(--set training.schedule=plateau --set "init.freeze=[decoder_source, decoder_target]")
liae=(
    --set model.architecture=liae --set model.mask_head=false --set training.ema_decay=0
    --set "init.freeze=[inter_B, decoder]"
)
old train --source source --target target --run df "${tiny[@]}" "${df[@]}"
old train --source source --target target --run liae "${tiny[@]}" "${liae[@]}"

# A conversion, killed as soon as its first piece (120 of 150 frames) is whole.
mkdir conversion
old render conversion/scene.mp4 --actor ada --twin null --seed 3 --frames 150 --set render.size=80
"${PYTHON:-python}" -m faceswap_lite convert --run df --clip conversion/scene.mp4 \
    --out conversion/swap.mp4 --set convert.device=cpu &
until compgen -G "conversion/.swap.mp4.*.work/swap/.000000.json" > /dev/null; do sleep 0.01; done
kill -9 $!
wait $! || true
[ ! -e conversion/swap.mp4 ] || { echo "the kill came too late; again" >&2; exit 1; }

# What is not needed again, is large, or names the machine.
rm -r df/preview* liae/preview* df/tensorboard liae/tensorboard
find target_curation -type f ! -name decisions.json -delete
rm -f conversion/scene.truth.npz
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w -C /tmp/made_at_c0de366 -cJf \
    "$here/files.tar.xz" source target target_curation df liae conversion
