#!/usr/bin/env bash
# Makes files.tar.xz, with the code of commit 1401d84:
#   git worktree add --detach ../1401d84 1401d84
#   bash tests/data/1401d84/make.sh ../1401d84
# PYTHON names the Python that has the packages. Only needs what pip brings: MTCNN, five points.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tree="$(cd "$1" && pwd)"
export PYTHONPATH="$tree" OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
unset FACESWAP_LITE_WEIGHTS
old() { "${PYTHON:-python}" -m faceswap_lite "$@"; }
made="$(mktemp -d)"
cd "$made"
trap 'rm -rf "$made"' EXIT

# Two actors, 10 small faces each.
pack=(--set extract.detector=mtcnn --set extract.landmarks=five --set extract.embedder=none)
old render source.mp4 --actor bruno --twin null --seed 1 --frames 10 --set render.size=72
old render target.mp4 --actor ada --twin null --seed 2 --frames 10 --set render.size=72
old extract source.mp4 --out source "${pack[@]}" --set extract.size=32 --set extract.margin=0
old extract target.mp4 --out target "${pack[@]}" --set extract.size=32 --set extract.margin=0

# The smallest network that the options allow, with an option of every group that is not the default.
# All its weights are equal, and frozen: they pack well.
"${PYTHON:-python}" - train --source source --target target --run run --steps 6 "${pack[@]}" \
    --set model.size=32 --set model.encoder_dims=4 --set model.inter_dims=16 \
    --set model.decoder_dims=4 --set model.mask_head=false --set init.run=none \
    --set init.freeze_steps=1000 --set "init.freeze=[encoder, inter, decoder_source, decoder_target]" \
    --set training.batch=4 --set training.keep=1 --set training.log_every=1 \
    --set training.threads=1 --set training.device=cpu --set training.precision=32-true \
    --set training.optimizer=adamw --set training.weight_decay=0.02 --set training.ema_decay=0 \
    --set training.schedule=step --set training.step_every=4 --set training.plateau_floor=0.05 \
    --set training.l1_weight=2 --set training.warp=0.01 --set training.hue=0.02 \
    --set training.heldout_every=3 --set training.heldout_gap=1 \
    --set convert.color=mkl --set convert.mask=hull --set convert.feather=0.1 \
    --set convert.quality=20 <<'END'
import torch
from faceswap_lite import cli
from faceswap_lite.training import setup

build = setup.build_model

def equal(*given):
    network = build(*given)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.02)
    return network

setup.build_model = equal
cli.main()
END

# A conversion, killed as soon as its first piece (3 of 6 pictures) is whole.
old render scene.mp4 --actor ada --twin null --seed 3 --frames 6 --set render.size=72
"${PYTHON:-python}" - convert --run run --clip scene.mp4 --out swap --set convert.device=cpu \
    --set convert.color_steady=1 --set convert.batch=1 <<'END' || true
import os
from faceswap_lite import cli
from faceswap_lite.conversion import writers
from faceswap_lite.media import pieces

writers.PIECE_FRAMES = 3
add = pieces.PieceShelf.add

def add_and_die(shelf, piece):
    add(shelf, piece)
    if shelf._folder.name == "swap":
        os._exit(9)

pieces.PieceShelf.add = add_and_die
cli.main()
END
[ ! -e swap.json ] || { echo "the kill came too late" >&2; exit 1; }

# What is not needed again, or names the machine.
rm -r run/preview* run/tensorboard .swap.lock .swap.writer
rm -f *.truth.npz source.mp4 target.mp4 */.faceswap_lite/index.npz
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w --mtime=@0 -cJf \
    "$here/files.tar.xz" .
