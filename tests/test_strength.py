"""How much augmentation `auto` chooses."""

from pathlib import Path

import pytest
from conftest import Cast, silent
from test_train import checkpoint_tensors, log_lines, with_training

from faceswap_lite.config import AUGMENTED, Config, TrainingConfig, dump_config, load_config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.runs.checkpoints import as_state, checkpoint_facts
from faceswap_lite.training.loop import train
from faceswap_lite.training.strength import (
    ENOUGH_HELDOUT,
    FEW_FACES,
    FIRST,
    GAP_DB,
    LEAST,
    MANY_FACES,
    MOST,
    augmented,
    first_strength,
    next_strength,
)


def test_few_faces_begin_with_the_most() -> None:
    assert first_strength(FEW_FACES) == first_strength(3) == FIRST
    assert first_strength(MANY_FACES) == first_strength(10 * MANY_FACES) == 0
    between = [first_strength(n) for n in (60, 110, 200)]
    assert FIRST > between[0] > between[1] > between[2] > 0


def losses(seen: float | None, heldout: float | None) -> dict[str, float | None]:
    return {
        f"{what}_{side}_psnr_db": value
        for side in ("source", "target")
        for what, value in (("seen", seen), ("heldout", heldout))
    }


def test_the_strength_follows_the_gap() -> None:
    wide, narrow = losses(30 + GAP_DB, 29.0), losses(30.0, 29.9)
    assert (
        next_strength(0.5, wide, ENOUGH_HELDOUT) > 0.5 > next_strength(0.5, narrow, ENOUGH_HELDOUT)
    )
    assert next_strength(1.0, wide, 100) == 1 and next_strength(0.0, narrow, 100) == 0
    # Too few to judge by, or nothing to see: it stays.
    assert next_strength(0.5, wide, ENOUGH_HELDOUT - 1) == 0.5
    assert next_strength(0.5, losses(None, None), 100) == 0.5


def test_values_by_hand_stay(tmp_path: Path) -> None:
    auto = TrainingConfig()
    assert auto.augment == "auto"
    assert augmented(auto, 0.0).model_dump(include={*AUGMENTED}) == LEAST
    assert augmented(auto, 1.0).model_dump(include={*AUGMENTED}) == MOST
    assert LEAST["warp"] < augmented(auto, 0.5).warp < MOST["warp"]
    by_hand = load_config(None, ["training.warp=0.03"]).training
    assert by_hand.augment == "hand" and augmented(by_hand, 0.0) == by_hand
    # On a config that was written out, too.
    (tmp_path / "all.yaml").write_text(dump_config(Config()))
    again = load_config(tmp_path / "all.yaml", ["training.warp=0.03"]).training
    assert again.augment == "hand" and again.warp == 0.03
    assert load_config(tmp_path / "all.yaml").training.augment == "auto"
    chosen = load_config(None, ["training.warp=0.03", "training.augment=auto"]).training
    assert chosen.augment == "auto"
    # What a run has stored names its values: those of before there was a choice, too.
    stored = TrainingConfig().model_dump()
    assert TrainingConfig.model_validate(stored).augment == "auto"
    del stored["augment"]
    assert TrainingConfig.model_validate(stored).augment == "hand"


def test_a_run_keeps_its_strength_and_resumes_bit_for_bit(cast: Cast, tmp_path: Path) -> None:
    source, target = open_face_set(cast.source), open_face_set(cast.target)

    def go(name: str, steps: int) -> Path:
        config = with_training(
            cast.config, steps=steps, augment="auto", heldout_every=2, save_every=5
        )
        train(source, target, tmp_path / name, config, say=silent)
        return tmp_path / name

    whole, halved = go("whole", 10), go("halved", 5)
    state = as_state(checkpoint_facts(halved, 5))
    assert 0 < state.strength <= 1
    assert go("halved", 10) == halved
    assert (
        as_state(checkpoint_facts(whole, 10)).strength
        == as_state(checkpoint_facts(halved, 10)).strength
    )
    ours, theirs = checkpoint_tensors(whole, 10), checkpoint_tensors(halved, 10)
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert any("augment" in line for line in log_lines(whole))
    # The strength goes by the looks: how often is the run's own.
    other = with_training(cast.config, steps=12, augment="auto", heldout_every=3)
    with pytest.raises(FaceswapError, match="heldout_every 2 there, 3 now"):
        train(source, target, whole, other, say=silent)


@pytest.mark.parametrize("preset", ["quick128", "quick64", "demo"])
def test_presets_that_begin_with_a_base_take_what_is_needed(preset: str) -> None:
    assert Config().training.augment == load_config(preset).training.augment == "auto"
