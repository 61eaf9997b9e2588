"""How much augmentation `auto` chooses."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Cast, silent
from test_train import with_training

from faceswap_lite.config import AUGMENTED, AugmentConfig, Config, TrainingConfig, dump_config
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.training import loop
from faceswap_lite.training.augmentation_strength import (
    FEW_FACES,
    FEW_STRENGTH,
    MANY_FACES,
    MAX_AUGMENTATION,
    MIN_AUGMENTATION,
    augmented,
    strength_for,
)
from faceswap_lite.training.batches import sample_batch
from faceswap_lite.training.train import train


def test_few_faces_get_the_most() -> None:
    assert strength_for(FEW_FACES) == strength_for(3) == FEW_STRENGTH
    assert strength_for(MANY_FACES) == strength_for(10 * MANY_FACES) == 0
    between = [strength_for(n) for n in (60, 110, 200)]
    assert FEW_STRENGTH > between[0] > between[1] > between[2] > 0


def test_values_by_hand_stay(tmp_path: Path) -> None:
    auto = AugmentConfig()
    assert auto.kind == "auto"
    assert augmented(auto, 0.0).model_dump(include={*AUGMENTED}) == MIN_AUGMENTATION
    assert augmented(auto, 1.0).model_dump(include={*AUGMENTED}) == MAX_AUGMENTATION
    assert MIN_AUGMENTATION["warp"] < augmented(auto, 0.5).warp < MAX_AUGMENTATION["warp"]
    by_hand = load_config(None, ["training.augment.warp=0.03"]).training.augment
    assert by_hand.kind == "hand" and augmented(by_hand, 0.0) == by_hand
    # On a config that was written out, too.
    (tmp_path / "all.yaml").write_text(dump_config(Config()))
    again = load_config(tmp_path / "all.yaml", ["training.augment.warp=0.03"]).training.augment
    assert again.kind == "hand" and again.warp == 0.03
    assert load_config(tmp_path / "all.yaml").training.augment.kind == "auto"
    chosen = load_config(
        None, ["training.augment.warp=0.03", "training.augment.kind=auto"]
    ).training.augment
    assert chosen.kind == "auto"
    given = load_config(tmp_path / "all.yaml", ["training.augment={warp: 0.03, zoom: 0}"]).training
    assert given.augment.kind == "hand" and given.augment.warp == 0.03
    # What a run has stored names its values: those of before there was a choice, too.
    stored = AugmentConfig().model_dump()
    assert AugmentConfig.model_validate(stored).kind == "auto"
    del stored["kind"]
    assert AugmentConfig.model_validate(stored).kind == "hand"


def test_a_run_augments_by_the_number_of_its_faces(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    drawn: list[tuple[int, TrainingConfig]] = []

    def noted(sides: Any, size: int, options: TrainingConfig, *rest: Any) -> Any:
        drawn.append((min(len(side.seen) for side in sides.values()), options))
        return sample_batch(sides, size, options, *rest)

    monkeypatch.setattr(loop, "sample_batch", noted)
    config = with_training(cast.config, steps=2, augment={"kind": "auto"}, heldout={"share": 0.2})
    train(source, target, tmp_path / "run", config, say=silent)
    (seen, options), again = drawn
    assert again == (seen, options) and strength_for(seen) > 0
    wanted = augmented(AugmentConfig(), strength_for(seen))
    ours, theirs = (c.model_dump(include={*AUGMENTED}) for c in (options.augment, wanted))
    assert ours == theirs
    # What is stored is what was asked for.
    assert load_config(tmp_path / "run" / "config.yaml").training.augment.kind == "auto"


@pytest.mark.parametrize("preset", ["quick128", "quick64", "demo"])
def test_presets_that_begin_with_a_base_take_what_is_needed(preset: str) -> None:
    assert Config().training.augment.kind == load_config(preset).training.augment.kind == "auto"
