from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import options
from faceswap_lite.config import (
    GONE_COLORS,
    ColorName,
    Config,
    ConvertConfig,
    dump_config,
    options_of,
)
from faceswap_lite.config_files import change_section, load_config
from faceswap_lite.errors import UsageError
from faceswap_lite.renames import CONSTANTS, RENAMED, under_old_names
from faceswap_lite.runs.manifest import MANIFEST_FILE

ROOT = Path(__file__).resolve().parent.parent
PRESETS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    assert load_config(path) == load_config(path.stem)


def test_config_survives_its_own_yaml(tmp_path: Path) -> None:
    config = load_config("quick64", ["training.lr=3e-4", "render.actor=random:7"])
    (tmp_path / "all.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "all.yaml") == config


def test_numbers_without_a_point_are_numbers() -> None:
    # PyYAML reads 1e-4 as text.
    assert load_config(None, ["training.lr=1e-4"]).training.lr == 1e-4


def test_a_rate_is_a_number_or_auto(tmp_path: Path) -> None:
    config = load_config(None, ["training.lr=auto"])
    assert config.training.lr == "auto"
    (tmp_path / "auto.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "auto.yaml") == config
    with pytest.raises(ValueError, match="range test"):
        _ = config.training.base_rate
    assert load_config(None, ["training.lr=2e-4"]).training.base_rate == 2e-4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.lrr=1", "training.lrr: no such option; did you mean lr?"),
        ("trainin.lr=1", "trainin: no such option; did you mean training?"),
        ("training.lr=fast", "training.lr: must be a number above 0, or auto"),
        ("training.lr=[1]", "training.lr: must be"),
        ("training.lr=.inf", "training.lr: must be"),
        ("training.find_lr_low=1", "find_lr_low must be below find_lr_high"),
        ("training.lr=-1", "training.lr:"),
        ("model.size=70", "not a multiple"),
        ("nonsense", "section.key=value"),
        (
            "convert.color.kind=robust_mkl",
            "convert.color.kind: robust_mkl no longer exists; use skin_gain",
        ),
        ("convert.color.kind=histogram", "convert.color.kind: histogram no longer exists; use mkl"),
        ("convert.color.kind=[1]", "convert.color.kind:"),
    ],
)
def test_a_typo_gets_one_line(change: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, [change])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_names_what_brought_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {batch: 0}\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_config(path, ["convert.test_time_augmentation=2"])
    assert str(caught.value).startswith(f"{path}: training.batch")
    # Mended by a change, and not there any more.
    assert load_config(path, ["training.batch=4"]).training.batch == 4
    path.write_text("training: {steps: 5, schedule: {kind: cosine}}\n", encoding="utf-8")
    for changes in (
        ["convert.test_time_augmentation=0"],
        ["model.size=70"],
        ["training.steps=null"],
    ):
        with pytest.raises(UsageError) as caught:
            load_config(path, ["training.threads=1", *changes])
        assert f"--set {changes[0]}: " in str(caught.value)
    with pytest.raises(UsageError) as caught:
        change_section(ConvertConfig(), ["scale=2", "color.kind=red"])
    assert str(caught.value).startswith("scale=2 color.kind=red: convert.color.kind")


def test_a_file_that_is_no_config(tmp_path: Path) -> None:
    for text in ("[1, 2", "- 1\n- 2", "training: 3"):
        path = tmp_path / "bad.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            load_config(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"presets: .*quick64"):
        load_config("quick65")


def test_configs_do_not_change_once_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().training.lr = 1.0  # type: ignore[misc]


def test_a_colon_in_a_sentence_makes_no_mapping() -> None:
    config = load_config(
        None, ["convert.output.label=Synthetic: face replaced", "consent=Anna: 2 May"]
    )
    assert config.convert.output.label == "Synthetic: face replaced"
    assert config.consent == "Anna: 2 May"
    assert load_config(None, ["convert.output.label="]).convert.output.label == ""


def test_a_colour_match_that_went_is_refused_but_in_a_runs_own_config(tmp_path: Path) -> None:
    """A run's file has every option, chosen or not."""
    path, heard = tmp_path / "config.yaml", list[str]()
    path.write_text("convert: {color: {kind: sliced_ot}, scale: 2}", encoding="utf-8")
    with pytest.raises(UsageError, match="sliced_ot no longer exists; use mkl"):
        load_config(path)
    (tmp_path / MANIFEST_FILE).write_text("{}")
    config = load_config(path, say=heard.append).convert
    assert (config.color.kind, config.scale) == ("skin_gain", 2)
    assert heard == [
        f"{path}: convert.color.kind sliced_ot no longer exists; skin_gain is used instead"
    ]
    heard.clear()
    assert load_config(path, ["convert.color.kind=mkl"], heard.append).convert.color.kind == "mkl"
    assert heard == []
    config = load_config(path, ["convert.test_time_augmentation=3"], heard.append).convert
    assert config.color.kind == "skin_gain"
    assert len(heard) == 1
    with pytest.raises(UsageError, match="use mkl"):
        load_config(path, ["convert.color.kind=mean"])
    assert set(GONE_COLORS).isdisjoint(get_args(ColorName)) and {*GONE_COLORS.values()} <= {
        *get_args(ColorName)
    }


@pytest.mark.parametrize("old", [*RENAMED, *CONSTANTS])
def test_an_old_name_gets_one_line_with_the_new_one(tmp_path: Path, old: str) -> None:
    section, key = old.split(".")
    told = f"{old} is {RENAMED[old]} now" if old in RENAMED else f"{old} is {CONSTANTS[old]} now"
    path = tmp_path / "mine.yaml"
    for value in ("1", "true", "null", "[1]", "auto", ""):
        with pytest.raises(UsageError) as caught:
            load_config(None, [f"{old}={value}"])
        assert str(caught.value).startswith(f"--set {old}={value}: {told}")
        path.write_text(f"{section}: {{{key}: {value}}}\n", encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            load_config(path, ["training.steps=5"])
        assert str(caught.value).startswith(f"{path}: {told}")
        if section == "convert":
            with pytest.raises(UsageError) as caught:
                change_section(ConvertConfig(), ["scale=2", f"{key}={value}"])
            assert str(caught.value) == f"{key}={value}: {told.replace('convert.', '')}"


def test_every_new_name_is_an_option() -> None:
    for new in RENAMED.values():
        section, name = new.split(".", 1)
        assert name in options_of(getattr(Config(), section))
    # Where a group has the name of a choice that was, the choice is its kind.
    choices = {old for old in RENAMED if any(n.startswith(f"{old}.") for n in RENAMED.values())}
    assert {RENAMED[old] for old in choices} == {f"{old}.kind" for old in choices}


def test_old_names_of_a_file_are_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {mse_weight: 20}\nconvert: {color: mkl, views: 2}\n")
    with pytest.raises(UsageError) as caught:
        load_config(path)
    says = (
        "training.mse_weight is training.loss.mse now; "
        "convert.views is convert.test_time_augmentation now; "
        "convert.color is convert.color.kind now"
    )
    assert str(caught.value) == f"{path}: {says}"


def test_a_runs_own_config_of_before_is_read_as_it_was_meant(tmp_path: Path) -> None:
    """As a run stored it, every option flat; its file stays as it is."""
    path, heard = tmp_path / "config.yaml", list[str]()
    wanted = load_config(None, CHANGED)
    flat = {
        section: {
            name: value
            for name, value in under_old_names(
                section, options_of(getattr(wanted, section))
            ).items()
            if "." not in name  # came later
        }
        for section in ("training", "convert")
    }
    flat["training"] |= {"plateau_floor": 0.02, "plateau_smoothing": 0.5}
    path.write_text(yaml.safe_dump(flat), encoding="utf-8")
    (tmp_path / MANIFEST_FILE).write_text("{}")
    assert load_config(path, say=heard.append) == wanted
    assert heard == [f"{path}: training.plateau_floor is 0.01 now, and no longer an option"]
    changed = load_config(path, ["convert.mask.top=0", "training.loss.l1=3"])
    assert (changed.convert.mask.top, changed.convert.mask.kind) == (0, "hull")
    assert (changed.training.loss.l1, changed.training.loss.mse) == (3, 20)
    with pytest.raises(UsageError, match=r"convert\.top is convert\.mask\.top now"):
        load_config(path, ["convert.top=0"])
    # One from before augmentation was a choice has chosen by hand.
    del flat["training"]["augment"]
    path.write_text(yaml.safe_dump(flat), encoding="utf-8")
    assert load_config(path).training.augment.kind == "hand"


CHANGED = (
    "training.steps=9", "training.loss.mse=20", "training.optimizer.kind=adamw",
    "training.schedule.kind=cosine", "training.augment.kind=auto", "training.heldout.share=0.2",
    "convert.color.kind=mkl", "convert.mask.kind=hull", "convert.output.quality=9",
)  # fmt: skip


def test_a_group_is_changed_by_its_options() -> None:
    config = load_config("demo", ["convert.mask={feather: 0.2, top: 0.1}", "convert.mask.top=0.3"])
    assert (config.convert.mask.kind, config.convert.mask.feather) == ("learned", 0.2)
    assert config.convert.mask.top == 0.3
    with pytest.raises(
        UsageError, match=r"training\.loss\.mze: no such option; did you mean mse\?"
    ):
        load_config(None, ["training.loss.mze=1"])


def test_the_page_of_options_is_made_of_their_descriptions() -> None:
    assert options.page() == (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    for name in Config.model_fields:
        part = getattr(Config(), name)
        for key in options_of(part) if name != "consent" else ():
            field: Any = part
            *groups, last = key.split(".")
            for group in groups:
                field = getattr(field, group)
            assert type(field).model_fields[last].description, f"{name}.{key}"
            assert f"| `{name}.{key}` |" in options.page()


def test_the_changelog_has_the_table_of_names() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = [f"| `{old}` | `{new}` |" for old, new in RENAMED.items()]
    rows += [f"| `{old}` | {value}, always |" for old, value in CONSTANTS.items()]
    assert "\n".join(["| was | is |", "|---|---|", *rows]) in text


def test_the_default_is_quick128() -> None:
    preset, default = load_config("quick128"), Config()
    for section in ("model", "init", "training", "base"):
        assert getattr(preset, section) == getattr(default, section), section


def test_a_stored_run_without_soften_is_as_sharp_as_it_was() -> None:
    for sharpen in (0.0, 0.5):
        stored = ConvertConfig(sharpen=sharpen).model_dump()
        del stored["soften"]
        assert ConvertConfig.model_validate(stored).soften == sharpen
    assert ConvertConfig.model_validate({"sharpen": 0.5}).soften == 1
