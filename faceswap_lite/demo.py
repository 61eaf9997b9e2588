"""The whole road on rendered actors: nobody's face is needed to see a swap being made."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .actors.clip import render_clip
from .config import Config
from .conversion.convert import convert_clip
from .conversion.writers import FileOutputs
from .errors import FaceswapError
from .evaluation.evaluate import evaluate_clips, report_table
from .evaluation.workbench import Contender
from .faces.extract import extract_faces
from .faces.face_set import open_face_set
from .faces.footage import find_footage
from .media.credentials import signing_for
from .media.images import write_image
from .media.marks import SyntheticMark
from .media.reading import as_clip, open_clip
from .media.truth import load_truth
from .media.writing import ClipWriter
from .outputs import VERSION, found_job, one_writer
from .runs.load import load_run
from .runs.manifest import MANIFEST_FILE
from .training.advice import advise
from .training.train import train

SOURCE, TARGET = "dara", "bruno"
TAKES = 24
UNSEEN_FRAMES = 120
# From the side, and with the mouth open.
STILLS = (6, 66)


@one_writer(lambda out, **_: [out])
def run_demo(
    out: Path, config: Config, *, overwrite: bool = False, say: Callable[[str], None] = print
) -> None:
    """Render two actors, train a swap, convert a clip that training never saw, measure it.

    Leaves `swap.mp4`, `comparison.mp4` (target | swap | truth) and two moments of it as a `.png`,
    `preview.png`, `report.html` and `report.json` in `out`. Steps that are done already are not
    done again.
    """
    ours = (out / "run" / MANIFEST_FILE).is_file()
    for name in ("comparison.mp4", "comparison.png", "preview.png"):
        if (out / name).exists() and not ours and not overwrite:
            whose = "exists and is not this demo's; choose another --out"
            raise FaceswapError(f"{out / name}: {whose}")
    say(f"1/5 render: {SOURCE} (source) and {TARGET} (target), {TAKES} takes each")
    people = {"source": SOURCE, "target": TARGET}
    takes = {name: [out / f"{name}_{take}.mp4" for take in range(1, TAKES + 1)] for name in people}
    for name, actor in people.items():
        for take, clip in enumerate(takes[name]):
            # Every take has its own light, background and motion, as real footage should.
            seed = 100 * (1 + list(people).index(name)) + take
            part = {"actor": actor, "twin": None, "seed": seed}
            render_clip(config.render.model_copy(update=part), clip, overwrite=overwrite)
    part = {"actor": TARGET, "twin": SOURCE, "seed": 6, "frames": UNSEEN_FRAMES, "rate": 25}
    unseen = config.render.model_copy(update=part)
    render_clip(unseen, out / "unseen.mp4", overwrite=overwrite)

    say("2/5 extract")
    for name in people:
        footage = find_footage(takes[name])
        extract_faces(footage, out / f"{name}_faces", config.extract, overwrite=overwrite)

    say("3/5 train")
    sets = [open_face_set(out / f"{name}_faces", minimum=10) for name in ("source", "target")]
    advise(sets[0], sets[1], out / "run", overwrite, say)
    train(sets[0], sets[1], out / "run", config, overwrite=overwrite, say=say)
    shutil.copyfile(out / "run" / "preview.png", out / "preview.png")

    say("4/5 convert a clip that training never saw")
    run = load_run(out / "run", config.convert.weights)
    clip, swap = out / "unseen.mp4", out / "swap.mp4"
    # A demo that went on training since converts and measures anew.
    made_by = found_job(swap.with_name(swap.name + ".json")).get("run_fingerprint")
    anew = overwrite or (ours and made_by != run.fingerprint)
    outputs = FileOutputs(swap, signing=signing_for(config.convert.output))
    convert_clip(run, as_clip(clip), outputs, config.convert, overwrite=anew, say=say)
    truth = load_truth(clip)
    assert truth is not None and truth.twin is not None, "render_clip wrote it a moment ago"
    side_by_side([clip, swap, truth.twin.matched], out / "comparison.mp4", STILLS)

    say("5/5 evaluate")
    report = evaluate_clips(
        [Contender(run, config.convert)],
        [as_clip(clip)],
        out / "report.json",
        config.evaluate,
        overwrite=anew,
        say=say,
    )
    say(report_table(report))
    say(f"look at {out / 'comparison.mp4'} (target | swap | truth) and {out / 'report.html'}")


def side_by_side(clips: list[Path], out: Path, stills: Sequence[int] = ()) -> None:
    """Write clips of the same size and length beside one another, with the first one's timing.

    The frames of `stills` go below one another into a PNG of the same name.
    """
    kept, mark = [], SyntheticMark(version=VERSION, run=None)
    with ExitStack() as stack:
        readers = [stack.enter_context(open_clip(clip)) for clip in clips]
        info = readers[0].info
        writer = stack.enter_context(
            ClipWriter(out, like=info, width=info.width * len(clips), height=info.height, mark=mark)
        )
        for frames in zip(*readers, strict=True):
            image = np.concatenate([frame.image for frame in frames], 1)
            writer.write(image, frames[0].pts)
            if frames[0].index in stills:
                kept.append(image)
    if kept:
        write_image(out.with_suffix(".png"), np.concatenate(kept), mark=mark)
