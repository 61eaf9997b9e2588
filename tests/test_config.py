from pathlib import Path
from typing import get_args

import pytest

from faceswap_lite.config import (
    GONE_COLORS,
    ColorName,
    Config,
    ConvertConfig,
    change_section,
    dump_config,
    load_config,
)
from faceswap_lite.errors import UsageError
from faceswap_lite.runs.manifest import MANIFEST_FILE

PRESETS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))


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
            "convert.color.kind: robust_mkl is no more; take skin_gain",
        ),
        ("convert.color.kind=histogram", "convert.color.kind: histogram is no more; take mkl"),
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
        load_config(path, ["convert.views=2"])
    assert str(caught.value).startswith(f"{path}: training.batch")
    # Mended by a change, and not there any more.
    assert load_config(path, ["training.batch=4"]).training.batch == 4
    path.write_text("training: {steps: 5, schedule: {kind: cosine}}\n", encoding="utf-8")
    for changes in (["convert.views=0"], ["model.size=70"], ["training.steps=null"]):
        with pytest.raises(UsageError) as caught:
            load_config(path, ["training.threads=1", *changes])
        assert f"--set {changes[0]}: " in str(caught.value)
    with pytest.raises(UsageError) as caught:
        change_section(ConvertConfig(), ["views=2", "color.kind=red"])
    assert str(caught.value).startswith("views=2 color.kind=red: convert.color.kind")


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
    path.write_text("convert: {color: {kind: sliced_ot}, views: 2}", encoding="utf-8")
    with pytest.raises(UsageError, match="sliced_ot is no more; take mkl"):
        load_config(path)
    (tmp_path / MANIFEST_FILE).write_text("{}")
    config = load_config(path, say=heard.append).convert
    assert (config.color.kind, config.views) == ("skin_gain", 2)
    assert heard == [f"{path}: convert.color.kind sliced_ot is no more; skin_gain stands in"]
    heard.clear()
    assert load_config(path, ["convert.color.kind=mkl"], heard.append).convert.color.kind == "mkl"
    assert heard == []
    assert load_config(path, ["convert.views=3"], heard.append).convert.color.kind == "skin_gain"
    assert len(heard) == 1
    with pytest.raises(UsageError, match="take mkl"):
        load_config(path, ["convert.color.kind=mean"])
    assert set(GONE_COLORS).isdisjoint(get_args(ColorName)) and {*GONE_COLORS.values()} <= {
        *get_args(ColorName)
    }


def test_the_default_is_quick128() -> None:
    preset, default = load_config("quick128"), Config()
    for section in ("model", "init", "training", "base"):
        assert getattr(preset, section) == getattr(default, section), section
