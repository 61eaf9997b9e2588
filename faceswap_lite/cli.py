"""The door: one command a stage. Heavy imports wait inside the commands: --help is quick."""

import io
import json
import os
import re
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .config import Config, ExportName, Side, SpaceName
from .config_files import Change, load_config
from .errors import FaceswapError, UsageError
from .outputs import REFUSALS, beside, short_name

COMMON = "Common to all commands"
"""The last group of options."""
WHOSE, PART, LOOK, MORE, DISCLOSE = (
    partial(typer.Option, rich_help_panel=group)
    for group in ("Whose face", "Part of the clip", "Look first", "Further outputs", "Disclosure")
)
"""Options of the other groups; what is in none comes first."""


class HelpCommand(TyperCommand):
    """Help in the order of use: what it does, its most common uses, its options in groups.

    Context and formatter are click's, or those of the copy of click that newer typers have inside.
    """

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Paragraphs; one of commands keeps its lines."""
        for paragraph in (self.help or "").split("\n\n"):
            formatter.write_paragraph()
            with formatter.indentation():
                if paragraph.startswith(("faceswap-lite ", "torchrun ")):
                    formatter.write("".join(f"    {line}\n" for line in paragraph.splitlines()))
                else:
                    formatter.write_text(" ".join(paragraph.split()))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The groups, in the order of their first options."""
        groups: dict[str, list[tuple[str, str]]] = {"": []}
        for param in self.get_params(ctx):
            last = param.name in ("help", "config", "changes", "overwrite")
            group = COMMON if last else getattr(param, "rich_help_panel", None) or ""
            if record := param.get_help_record(ctx):
                groups.setdefault(group, []).append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title or "Arguments and options"):
                    formatter.write_dl(records)


app = typer.Typer(
    name="faceswap-lite",
    help="Train face-swap autoencoders, convert clips, and measure the result on unseen frames.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# OpenCV warns of its own plans whenever it loads a network; that is no news to a user.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
# What Pillow thinks of a picture that it reads all the same.
warnings.filterwarnings("ignore", module="PIL")

DEFAULT_LABEL = "AI-generated: face replaced"

ConfigOption = Annotated[
    str | None, typer.Option("--config", help="A YAML file, or the name of a preset in configs/.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change one option: section.key=value.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output of another job.")
]
FaceOption = Annotated[int | None, typer.Option(help="The n-th face from the left (0: leftmost).")]
RunOption = Annotated[Path, typer.Option("--run", help="The run folder.")]


@app.command(cls=HelpCommand)
def extract(
    clips: Annotated[
        list[str], typer.Argument(help="Clips, stills, image folders, or quoted patterns.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The face set's folder.")],
    like: Annotated[
        Path | None, typer.Option(help="A photo of the person to keep, where there are several.")
    ] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Find the faces of clips and store them as a face set.

    faceswap-lite extract "footage/anna_*.mp4" --out anna
    faceswap-lite extract party.mp4 --out anna --like anna.jpg
    faceswap-lite extract stills/ --out anna --set extract.every=5
    """
    options = load_config(config, changes or [])
    from .faces.extract import extract_faces
    from .faces.footage import find_footage
    from .media.clips import find_clips, passed_over
    from .media.images import read_photo

    found = find_clips(clips)
    for folder in map(Path, clips):
        # Of a sequence, its reader says so.
        if folder.is_dir() and folder not in found:
            taken = {clip.name for clip in found if clip.parent == folder}
            if line := passed_over(folder, taken):
                print(f"{folder}: {line}")
    photo = None if like is None else read_photo(like)
    extract_faces(find_footage(found), out, options.extract, like=photo, overwrite=overwrite)


@app.command(cls=HelpCommand)
def curate(
    faces: Annotated[Path, typer.Argument(help="The face set to judge.")],
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the rejected faces aside, in FACES/_rejected.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Bring back what was set aside.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="The target's face set: which of its faces are not covered?")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=0, help="Keep the best N faces that cover the set; 0: all again."),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Always keep this file, or the files that a .txt lists."),
    ] = None,
    reject: Annotated[
        list[str] | None,
        typer.Option(help="Always reject this file, or the files that a .txt lists."),
    ] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
) -> None:
    """Judge a face set: who and what does not belong, and why. Nothing is ever deleted.

    faceswap-lite curate anna --against ben
    faceswap-lite curate anna --apply
    faceswap-lite curate anna --keep 500 --apply

    Without --apply it only shows: FACES_curation/ holds a page, contact sheets, and the decisions
    as JSON and CSV. Rare poses are kept, and training draws them more often. What you accept or
    reject, or move by hand, stays as you want it.
    """
    if undo and (apply or keep is not None or accept or reject or against):
        raise UsageError("--undo cannot be combined with other options of curate")
    options = load_config(config, changes or [])
    from .curation.curate import curate_faces, undo_curation

    if undo:
        print(undo_curation(faces))
        return
    summary = curate_faces(
        faces,
        options.curate,
        apply=apply,
        against=against,
        best=keep,
        accept=_names(accept),
        reject=_names(reject),
    )
    print("\n".join(summary.lines()))


@app.command(cls=HelpCommand)
def train(
    source: Annotated[Path, typer.Option(help="Face set of the identity to paint.")],
    target: Annotated[Path, typer.Option(help="Face set of the person in the target clip.")],
    run: RunOption,
    steps: Annotated[int | None, typer.Option(help="Stop after this many steps in total.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this many minutes in total.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="A run, or a base's file, whose weights to start from."),
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr", help="Suggest a learning rate and draw its curve, without training."
        ),
    ] = False,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train, or go on training, a run. Ctrl-C saves; the same command resumes.

    faceswap-lite train --source anna --target ben --run run --minutes 20
    faceswap-lite train --source anna --target ben --run run --config df128
    faceswap-lite train --source anna --target ben --run run --find-lr

    A run starts from the package's base of rendered people, where that fits network and crops.
    --init takes the weights of another run instead, part by part, as far as they fit;
    --set init.run=none starts from fresh weights.

    --find-lr tries rising rates on those first weights for some steps, suggests one, and writes
    RUN/find_lr.png; --set training.lr=auto does so at the start of a run, and trains with it.

    A run resumed without --config keeps its own options. These may change: steps, minutes,
    patience, keep, log_every, save_every, preview_every, accumulate, augment.warp_until, late_ramp,
    device, precision, compile, threads; with training.augment.kind=hand also heldout.every.

    On several GPUs: torchrun --nproc-per-node 4 -m faceswap_lite train ...
    """
    changed = _changed(changes, "training", steps=steps, minutes=minutes)
    begun = run / "config.yaml"
    if config is None and not overwrite and (run / "run.json").is_file() and begun.is_file():
        # A run that goes on has its options; when to stop is this call's to say.
        ends = ["training.minutes=null"] if steps or minutes else []
        if minutes and load_config(begun).training.schedule.kind not in ("cosine", "one_cycle"):
            ends.append("training.steps=null")
        options = load_config(begun, [*ends, *changed], say=print)
    else:
        options = load_config(config, changed, say=print)
    if init is not None:
        # Not through YAML, to which some folders' names are numbers or comments; and a folder
        # called base is a folder.
        path = str(init.resolve()) if init.is_dir() and str(init) in ("base", "none") else str(init)
        given = options.init.model_copy(update={"run": path})
        options = options.model_copy(update={"init": given})
    from .faces.face_set import open_face_set
    from .training.advice import advise
    from .training.find_lr import find_lr as run_range_test
    from .training.resume import CURVE_FILE
    from .training.train import train as run_training

    faces = open_face_set(source, minimum=10), open_face_set(target, minimum=10)
    if find_lr:
        rate = run_range_test(*faces, run, options, overwrite=overwrite)
        print(
            f"suggested learning rate: {rate:.1e}; use it with --set training.lr={rate:.1e} "
            f"(curve: {run / CURVE_FILE})"
        )
        return
    advise(*faces, run, overwrite)
    summary = run_training(*faces, run, options, overwrite=overwrite)
    print(f"{run}: step {summary.step}, {summary.seconds / 60:.1f} minutes ({summary.reason})")
    if options.training.finish.after_training:
        from .training.finish import finish_run

        print("\n".join(finish_run(run, options).lines()))


@app.command(cls=HelpCommand)
def finish(
    run: RunOption,
    steps: Annotated[int | None, typer.Option(help="Steps of the phase in total.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of the phase in total.")] = None,
    sides: Annotated[
        str | None, typer.Option(help="Whose painted face: source (default), target or both.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Use the run as it was before.")] = False,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Finish a trained run: bring back the fine detail that training averages away.

    faceswap-lite finish --run run
    faceswap-lite finish --run run --minutes 10 --sides both
    faceswap-lite finish --run run --undo

    The painted person's decoder goes on against a discriminator, for 0.4 of the training's time
    unless you say otherwise. A guard looks at held-out faces, ends the phase where it does harm,
    and keeps the best state. The run's checkpoints stay as they are.
    """
    if undo:
        from .runs.finished import undo_finish

        print(undo_finish(run) or f"{run}: has no finish")
        return
    changed = _changed(changes, "training.finish", steps=steps, minutes=minutes, sides=sides)
    if not (run / "config.yaml").is_file():
        raise FaceswapError(f"{run}: is not a run; train one first")
    from .training.finish import finish_run

    summary = finish_run(run, load_config(run / "config.yaml", changed), overwrite=overwrite)
    print("\n".join(summary.lines()))


@app.command(cls=HelpCommand)
def base(
    out: Annotated[Path, typer.Option("--out", help="The base's file: NAME.safetensors.")],
    work: Annotated[
        Path, typer.Option(help="Folder for pool and checkpoints; may be removed afterwards.")
    ],
    faces: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A face set of one real person; may be repeated."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps in total.")] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a base: weights that any training of the same network can begin with.

    faceswap-lite base --config liae128 --out liae128.safetensors --work base
    faceswap-lite base --config df128 --out df128.safetensors --work base --steps 3000
    faceswap-lite base --config df128 --out own.safetensors --work base --from anna

    It learns from thousands of rendered people and, with --from, from the real people of face
    sets that you have the rights to. The package has bases for quick64 and quick128; make your own
    for other networks. If it was interrupted, the same command continues where it stopped.
    """
    options = load_config(config, _changed(changes, "base", steps=steps))
    from .faces.face_set import open_face_set
    from .pretraining.pretrain import make_base

    sets = [open_face_set(folder, minimum=10) for folder in faces or []]
    make_base(out, work, options, sets, overwrite=overwrite)


@app.command(cls=HelpCommand)
def fit(
    base: Annotated[Path, typer.Option(help="The trained run to start from.")],
    target: Annotated[Path, typer.Option(help="The new target: a clip, or a face set.")],
    run: RunOption,
    source: Annotated[
        Path | None, typer.Option(help="The source's face set, where the base knows none.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many steps in total.")] = None,
    compare_scratch: Annotated[
        bool, typer.Option("--compare-scratch", help="Also train from scratch, and compare.")
    ] = False,
    config: ConfigOption = "fit",
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit a trained run to a new clip's target, in a fraction of the time.

    faceswap-lite fit --base run --target scene.mp4 --run scene
    faceswap-lite fit --base run --target ben2 --run scene --steps 500
    faceswap-lite fit --base run --target scene.mp4 --run scene --compare-scratch

    Options that the config does not set are the base's. It writes fit_report.json and
    fit_report.png into the run's folder: what the fit gained, and what it cost the source.
    """
    options = load_config(config, _changed(changes, "training", steps=steps))
    from .training.fit import fit_run

    report = fit_run(
        base, target, run, options,
        source=source, compare_scratch=compare_scratch, overwrite=overwrite,
    )  # fmt: skip
    print("\n".join(report.lines()))


@app.command("import", cls=HelpCommand)
def import_(
    path: Annotated[
        Path, typer.Argument(help="A model or faces of another tool, or an exported run.")
    ],
    run: Annotated[Path | None, typer.Option(help="The run folder that a model becomes.")] = None,
    out: Annotated[Path | None, typer.Option(help="The face set that faces become.")] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a run or a face set of another tool's files. Nothing in them is executed.

    faceswap-lite import dfl/model --run imported
    faceswap-lite import original.keras --run imported
    faceswap-lite import dfl/aligned --out anna

    With --run: DeepFaceLab's SAEHD and Quick96 (a folder, or NAME_data.dat), FaceSwap's original
    and lightweight (.keras, .h5), and what export wrote as .safetensors. The run is ready for
    train, fit, convert and export.

    With --out: DeepFaceLab's aligned JPEGs (a folder) and faceset.pak.
    """
    if (run is None) == (out is None):
        raise UsageError("import needs either --run for a model or --out for faces")
    options = load_config(config, changes or [])
    from .interchange.importing import import_model
    from .interchange.importing_faces import import_faces

    if run is not None:
        import_model(path, run, overwrite=overwrite)
    if out is not None:
        import_faces(path, out, options.extract, overwrite=overwrite)


@app.command(cls=HelpCommand)
def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[Path, typer.Option("--out", help="The file: .dfm, .onnx or .safetensors.")],
    form: Annotated[
        ExportName | None, typer.Option("--format", help="Default: by the file's suffix.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Write .dfm even if players cut faces otherwise.")
    ] = False,
    with_consent: Annotated[
        bool, typer.Option("--with-consent", help="Write the consent's text into the file.")
    ] = False,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a run as one file: .dfm for players, plain ONNX, or the run itself.

    faceswap-lite export run --out model.dfm
    faceswap-lite export run --out model.onnx
    faceswap-lite export run --out run.safetensors

    DeepFaceLive, FaceFusion and VisoMaster load .dfm; they cut faces as dfl_whole. The file says
    that what it paints is synthetic. --set convert.weights=last exports the newest weights.
    """
    options = _options_of_run(run, config, changes or [])
    from .interchange.exporting import export_run
    from .runs.load import load_run

    export_run(
        load_run(run, options.convert.weights), out, form,
        anyway=anyway, with_consent=with_consent, overwrite=overwrite,
    )  # fmt: skip


@app.command(cls=HelpCommand)
def convert(
    run: RunOption,
    clip: Annotated[Path, typer.Option(help="The target's clip, image folder or image.")],
    out: Annotated[
        Path | None, typer.Option(help="The swapped clip: .mp4, .mkv, .mov, a folder, ...")
    ] = None,
    face: Annotated[
        int | None, WHOSE(help="Swap the n-th face from the left (0: leftmost), whoever it is.")
    ] = None,
    all_faces: Annotated[bool, WHOSE("--all-faces", help="Swap every face.")] = False,
    like: Annotated[
        Path | None, WHOSE(help="A photo of the person to swap, if not the run's target.")
    ] = None,
    swap: Annotated[
        str | None, WHOSE(help="source-to-target (default), or target-to-source.")
    ] = None,
    frames: Annotated[
        str | None, PART(help="Only frames START:END, counted from 0, END excluded.")
    ] = None,
    start_number: Annotated[
        int | None,
        PART(min=0, help="Number of the first frame in the names of pictures and masks."),
    ] = None,
    tta: Annotated[
        int | None,
        typer.Option(
            help="Test-time augmentation: paint this many shifted inputs and average them."
        ),
    ] = None,
    label: Annotated[
        bool, DISCLOSE("--label", help="Burn in a visible label; convert.output.label is its text.")
    ] = False,
    c2pa: Annotated[bool, DISCLOSE("--c2pa", help="Sign with a C2PA manifest.")] = False,
    masks: Annotated[
        Path | None, PART(help="PNG masks of the frames: black is never swapped.")
    ] = None,
    mask_out: Annotated[Path | None, MORE(help="Also write the mask, as a clip.")] = None,
    layer_out: Annotated[Path | None, MORE(help="Also write the face alone, with alpha.")] = None,
    compare: Annotated[Path | None, MORE(help="Also write clip and swap side by side.")] = None,
    preview_settings: Annotated[
        Path | None, LOOK(help="Write only a sheet of some frames under several settings.")
    ] = None,
    preview_frames: Annotated[
        int, LOOK(min=1, max=24, help="Number of frames that this sheet shows.")
    ] = 6,
    tries: Annotated[
        list[str] | None,
        LOOK(
            "--try",
            help="A row of this sheet: convert options, separated by spaces; may be repeated.",
        ),
    ] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Paint the source's face into a clip of the target.

    faceswap-lite convert --run run --clip scene.mp4 --out swap.mp4
    faceswap-lite convert --run run --clip scene.mp4 --preview-settings sheet.png
    faceswap-lite convert --run run --clip scene.mp4 --out swap.mp4 --mask-out mask.mkv

    Choose by eye before a long conversion: --preview-settings sheet.png shows a few frames under
    several settings, or your own: --try "color.kind=mkl blend=multiband" --try mask.kind=hull.

    If it was interrupted, the same command continues where it stopped.
    """
    if (out is None) == (preview_settings is None):
        raise UsageError("convert needs either --out or --preview-settings")
    if like is not None and (face is not None or all_faces):
        raise UsageError("--like, --face and --all-faces each say whom to swap: choose one")
    if tries and preview_settings is None:
        raise UsageError("--try needs --preview-settings")
    whose = {"face": face, "all_faces": all_faces or None, "swap": swap}
    changed = _changed(changes, "convert", **whose, start_number=start_number) + _range(frames)
    if tta is not None:
        changed.append(Change(f"convert.test_time_augmentation={tta}", f"--tta {tta}"))
    changed += [Change("convert.output.c2pa=true", "--c2pa")] if c2pa else []
    whole = _options_of_run(run, config, changed)
    # Not through YAML, to which some folders' names are numbers.
    mask, output = whole.convert.mask, whole.convert.output
    if masks is not None:
        mask = mask.model_copy(update={"folder": str(masks)})
    if label and not output.label:
        output = output.model_copy(update={"label": DEFAULT_LABEL})
    options = whole.convert.model_copy(update={"mask": mask, "output": output})
    from .conversion.convert import convert_clip
    from .conversion.settings_sheet import settings_sheet
    from .conversion.writers import FileOutputs, Tracks
    from .media.credentials import signing_for
    from .media.reading import as_clip
    from .runs.load import load_run

    trained = load_run(run, options.weights)
    if preview_settings is not None:
        settings_sheet(
            trained, as_clip(clip), preview_settings, options, tries or [],
            like=like, frames=preview_frames, overwrite=overwrite,
        )  # fmt: skip
        print(f"look at {preview_settings}")
    if out is not None:
        tracks = Tracks(mask=mask_out, layer=layer_out, compare=compare)
        outputs = FileOutputs(out, tracks, signing_for(options.output))
        summary = convert_clip(
            trained, as_clip(clip), outputs, options,
            like=like, consent=whole.consent, overwrite=overwrite,
        )  # fmt: skip
        print(summary.line())


@app.command(cls=HelpCommand)
def check(
    run: RunOption,
    clip: Annotated[Path, typer.Option(help="The clip to be converted.")],
    out: Annotated[
        Path | None, typer.Option(help="The report, a .json; default RUN/check_CLIP.json.")
    ] = None,
    face: FaceOption = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Before a long conversion: where the run can be trusted on a clip, and why not elsewhere.

    faceswap-lite check --run run --clip scene.mp4
    faceswap-lite check --run run --clip scene.mp4 --out scene.json
    faceswap-lite check --run run --clip scene.mp4 --face 1
    """
    options = _options_of_run(run, config, _changed(changes, "convert", face=face))
    from .evaluation.check import check_clip
    from .media.reading import as_clip
    from .runs.load import load_run

    trained = load_run(run, options.convert.weights)
    path = out or run / f"check_{short_name(clip.stem, 240)}.json"
    check_clip(trained, as_clip(clip), path, options.convert, overwrite=overwrite)


@app.command(cls=HelpCommand)
def evaluate(
    runs: Annotated[
        list[Path], typer.Option("--run", help="A run folder; repeat it to compare runs.")
    ],
    clips: Annotated[
        list[Path], typer.Option("--clip", help="A clip or face set that training never saw.")
    ],
    converted: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measure this conversion of the clip instead of a fresh one; one per clip."
        ),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option(help="A face set of somebody else, whom a swap must not be taken for."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The report, with a page of the same name; default RUN/report.json."),
    ] = None,
    face: FaceOption = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure runs on clips that training never saw, and say what holds the result back.

    faceswap-lite evaluate --run run --clip unseen.mp4
    faceswap-lite evaluate --run run --clip scene.mp4 --converted swap.mp4
    faceswap-lite evaluate --run a --run b --clip one.mp4 --clip two.mp4 --out both.json
    """
    changed = _changed(changes, "convert", face=face)
    if known:
        names = [str(path) for path in known]
        changed.append(Change(f"evaluate.known={json.dumps(names)}", f"--known {' '.join(names)}"))
    options = [_options_of_run(run, config, changed) for run in runs]
    from .evaluation.evaluate import evaluate_clips, report_table
    from .evaluation.workbench import Contender
    from .media.reading import as_clip
    from .runs.load import load_run

    path = out or runs[0] / "report.json"
    contenders = [
        Contender(load_run(run, own.convert.weights), own.convert)
        for run, own in zip(runs, options, strict=True)
    ]
    report = evaluate_clips(
        contenders, [*map(as_clip, clips)], path, options[0].evaluate,
        converted=converted or [], overwrite=overwrite,
    )  # fmt: skip
    print(report_table(report))
    print(f"written to {path}; look at {beside(path, '.html')[1]}")


latent = typer.Typer(
    help="Explore the codes of faces: mix two, or see what changing an attribute looks "
    "like.\n\nfaceswap-lite latent direction yaw_deg --run run --out yaw.png",
    no_args_is_help=True,
)
app.add_typer(latent, name="latent")

SideOption = Annotated[
    Side, typer.Option(help="Whose decoder paints, and whose faces are looked at.")
]
SheetOption = Annotated[
    Path, typer.Option("--out", help="The sheet, a .png; a .json is written beside it.")
]


@latent.command(cls=HelpCommand)
def interpolate(
    a: Annotated[Path, typer.Argument(help="A crop of a face set.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    run: RunOption,
    out: SheetOption,
    side: SideOption = "target",
    steps: Annotated[int, typer.Option(help="Number of pictures, both ends included.")] = 9,
    space: Annotated[SpaceName, typer.Option(help="What is mixed.")] = "both",
    arc: Annotated[bool, typer.Option("--arc", help="Also along the arc (slerp).")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Go from one face to another through the codes, and by blending pixels, to compare.

    faceswap-lite latent interpolate A.png B.png --run run --out mix.png
    faceswap-lite latent interpolate A.png B.png --run run --out mix.png --side source
    faceswap-lite latent interpolate A.png B.png --run run --out mix.png --space code --arc
    """
    from .latent.interpolate_stage import interpolate_faces
    from .runs.load import load_run

    interpolate_faces(
        load_run(run), a, b, out, side=side, steps=steps, space=space, arc=arc, overwrite=overwrite
    )


@latent.command(cls=HelpCommand)
def direction(
    attribute: Annotated[
        str, typer.Argument(help="yaw_deg, pitch_deg, mouth, eyes, brightness or hue_deg.")
    ],
    run: RunOption,
    out: SheetOption,
    side: SideOption = "target",
    overwrite: OverwriteOption = False,
) -> None:
    """Find the direction of codes along which an attribute changes, and measure it.

    faceswap-lite latent direction yaw_deg --run run --out yaw.png
    faceswap-lite latent direction mouth --run run --out mouth.png --side source

    The direction is stored beside the sheet (.safetensors) for `latent sweep`.
    """
    from .latent.direction_stage import find_direction
    from .runs.load import load_run

    find_direction(load_run(run), attribute, out, side=side, overwrite=overwrite)


@latent.command(cls=HelpCommand)
def sweep(
    direction: Annotated[Path, typer.Argument(help="A direction that `latent direction` stored.")],
    face: Annotated[Path, typer.Argument(help="A crop of a face set.")],
    run: RunOption,
    out: SheetOption,
    side: Annotated[
        Side | None, typer.Option(help="Whose decoder paints; default: the direction's own.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Move one face along a stored direction.

    faceswap-lite latent sweep yaw.safetensors A.png --run run --out turned.png
    faceswap-lite latent sweep yaw.safetensors A.png --run run --out swap.png --side source
    """
    from .latent.direction_stage import sweep_direction
    from .runs.load import load_run

    sweep_direction(load_run(run), direction, face, out, side=side, overwrite=overwrite)


@latent.command(cls=HelpCommand)
def counterfactual(
    face: Annotated[Path, typer.Argument(help="A crop of a face set.")],
    question: Annotated[
        str, typer.Argument(help="identity, or an attribute: yaw_deg, mouth, brightness ...")
    ],
    run: RunOption,
    out: SheetOption,
    side: SideOption = "target",
    overwrite: OverwriteOption = False,
) -> None:
    """What would have to change for another answer? Directions of codes, ranked by their effect.

    faceswap-lite latent counterfactual A.png mouth --run run --out what_if.png
    faceswap-lite latent counterfactual A.png identity --run run --out who.png
    """
    from .latent.counterfactual_stage import counterfactual as ask
    from .runs.load import load_run

    ask(load_run(run), face, question, out, side=side, overwrite=overwrite)


@app.command(cls=HelpCommand)
def render(
    out: Annotated[Path, typer.Argument(help="The clip to write; its truth goes beside it.")],
    actor: Annotated[str | None, typer.Option(help="A name, or random:SEED.")] = None,
    twin: Annotated[str | None, typer.Option(help="Whose face the twins wear; null: none.")] = None,
    frames: Annotated[int | None, typer.Option(help="Number of frames.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of motion, light and background.")] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Render a clip of a synthetic actor, with its exact truth and its twins.

    faceswap-lite render ada.mp4 --actor ada --twin bruno --frames 250
    faceswap-lite render someone.mp4 --actor random:7 --twin null
    faceswap-lite render ada.mp4 --set render.size=512
    """
    changed = _changed(changes, "render", actor=actor, twin=twin, frames=frames, seed=seed)
    options = load_config(config, changed)
    from .actors.clip import render_clip

    render_clip(options.render, out, overwrite=overwrite)


@app.command(cls=HelpCommand)
def info(
    path: Annotated[
        Path | None,
        typer.Argument(help="A face set, a run, a base, an export, a clip or a picture."),
    ] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
) -> None:
    """Tell what a face set, run, base, export, clip or picture is; whether it is marked synthetic.

    faceswap-lite info anna
    faceswap-lite info swap.mp4
    faceswap-lite info --config df128

    With --config: what training with it costs: parameters, memory, steps/s on this machine.
    """
    if (path is None) == (config is None):
        raise UsageError("info needs either a path or --config")
    if path is not None and changes:
        raise UsageError("--set needs --config")
    options = load_config(config, changes or [])
    from .about import describe, describe_config

    print(describe(path) if path is not None else describe_config(options))


@app.command(cls=HelpCommand)
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("workspace/demo"),
    minutes: Annotated[float | None, typer.Option(help="Training time, minutes.")] = None,
    config: ConfigOption = "demo",
    changes: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """The whole road on rendered actors: render, extract, train, convert, evaluate.

    faceswap-lite demo
    faceswap-lite demo --minutes 2 --out short
    faceswap-lite demo --config quick64 --out real_packs
    """
    options = load_config(config, _changed(changes, "training", minutes=minutes))
    from .demo import run_demo

    run_demo(out, options, overwrite=overwrite)


def _changed(changes: list[str] | None, section: str, **given: object) -> list[str]:
    """What --set changes, and then those of a command's own options that were given."""
    own: list[str] = []
    for name, value in given.items():
        if value is not None:
            typed = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            own.append(Change(f"{section}.{name}={value}", typed))
    return [*(changes or []), *own]


def _range(frames: str | None) -> list[Change]:
    """START:END as options; either may be left out."""
    if frames is None:
        return []
    start, colon, end = frames.partition(":")
    if not colon or not re.fullmatch("[0-9]*:[0-9]*", frames):
        raise UsageError(f"--frames {frames}: must read START:END, such as 100:250")
    # Through YAML a leading zero would make it octal.
    given = {"start": str(int(start or 0)), "end": str(int(end)) if end else "null"}
    return [
        Change(f"convert.{name}={value}", f"--frames {frames}") for name, value in given.items()
    ]


def _names(given: list[str] | None) -> list[str]:
    """File names as given, and those of text files that hold one a line."""
    names: list[str] = []
    for name in given or []:
        if not name.endswith(".txt"):
            names.append(name)
            continue
        try:
            lines = Path(name).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: cannot be read as a list of names ({error})") from error
        names += [line.strip() for line in lines if line.strip()]
    return names


def _options_of_run(run: Path, config: str | None, changes: list[str]) -> Config:
    """The given config, else the one the run was trained with."""
    own = run / "config.yaml"
    if config is None and not own.is_file():
        raise FaceswapError(f"{run}: is not a run folder (config.yaml is missing)")
    return load_config(config or own, changes, say=print)


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 misused."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may be no text that this terminal can show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except FaceswapError as error:
        kind = "usage" if isinstance(error, UsageError) else "error"
        print(f"{kind}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        print(f"error: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
