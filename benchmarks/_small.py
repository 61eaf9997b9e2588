"""A small road for benchmarks of many calls: two actors, their face sets, a run of a tiny net.

No benchmark itself.
"""

from pathlib import Path

from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import RenderConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.training.train import train

TINY = (
    "model.size=32", "model.encoder_dims=8", "model.inter_dims=16", "model.decoder_dims=6",
    "model.mask_dims=4", "training.batch=2", "training.threads=1",
    "training.schedule.warmup_steps=5", "training.precision=32-true", "init.run=none",
)  # fmt: skip
PEOPLE = {"source": ("bruno", "ada"), "target": ("ada", "bruno")}


def small_sets(work: Path, frames: int = 40) -> tuple[Path, Path]:
    """The face sets `source` and `target` in `work`, made of clips of these names beside them."""
    config = load_config("quick64", TINY)
    for seed, (name, (actor, twin)) in enumerate(PEOPLE.items(), 1):
        clip = work / f"{name}.mp4"
        render_clip(RenderConfig(actor=actor, twin=twin, frames=frames, seed=seed), clip)
        extract_faces(find_footage([clip]), work / name, config.extract)
    return work / "source", work / "target"


def small_run(work: Path, steps: int = 20) -> Path:
    """A run of a tiny net in `work`, of the sets there, with two checkpoints."""
    ends = (f"training.steps={steps}", f"training.save_every={steps // 2}", "training.keep=2")
    source, target = (open_face_set(work / name) for name in PEOPLE)
    config = load_config("quick64", [*TINY, *ends])
    train(source, target, work / "run", config, say=lambda line: None)
    return work / "run"
