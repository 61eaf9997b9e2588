"""What models do to distributions: planted shifts, shrinks and wraps; the study in miniature."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import study_bias
from _measures import cells, count_modes, histogram, kernel_density, novel_combination_rate
from faceswap_lite.evaluation.bias import MIN_GROUP_FACES, attribute_bias, compare_groups
from faceswap_lite.faces.attributes import ATTRIBUTES, Readings

COUNT = 400


@pytest.fixture
def inputs() -> Readings:
    rng = np.random.default_rng(3)
    return Readings(
        yaw_deg=rng.normal(5, 12, COUNT),
        pitch_deg=rng.normal(-3, 4, COUNT),
        mouth=rng.uniform(0, 0.4, COUNT),
        eyes=rng.uniform(0.1, 0.4, COUNT),
        brightness=rng.uniform(0.3, 0.7, COUNT),
        hue_deg=rng.normal(55, 5, COUNT),
    )


def test_nothing_happened(inputs: Readings) -> None:
    for bias in attribute_bias(inputs, inputs).values():
        assert bias.faces == COUNT
        assert bias.mean_shift == 0
        assert bias.wasserstein == 0
        assert bias.spread_ratio == pytest.approx(1)
        assert bias.slope == pytest.approx(1)
        assert bias.inputs == bias.outputs
        assert sum(bias.inputs) == COUNT


def test_a_planted_shift_and_shrink_are_found(inputs: Readings) -> None:
    mean = inputs.yaw_deg.mean()
    outputs = replace(
        inputs, yaw_deg=mean + 0.5 * (inputs.yaw_deg - mean), mouth=inputs.mouth + 0.1
    )
    biases = attribute_bias(inputs, outputs)
    assert set(biases) == set(ATTRIBUTES)
    yaw, mouth = biases["yaw_deg"], biases["mouth"]
    assert yaw.spread_ratio == pytest.approx(0.5)
    assert yaw.slope == pytest.approx(0.5)
    assert yaw.mean_shift == pytest.approx(0)
    # Sorted values are moved by half their distance to the mean.
    assert yaw.wasserstein == pytest.approx(0.5 * np.abs(inputs.yaw_deg - mean).mean())
    assert mouth.mean_shift == pytest.approx(0.1)
    assert mouth.wasserstein == pytest.approx(0.1)
    assert mouth.spread_ratio == pytest.approx(1)
    assert biases["pitch_deg"].mean_shift == 0


def test_slope_is_that_of_numpy_and_knows_which_way_round(inputs: Readings) -> None:
    rng = np.random.default_rng(1)
    outputs = 0.3 * inputs.yaw_deg + rng.normal(0, 6, COUNT)
    bias = compare_groups(inputs.yaw_deg, outputs)
    assert bias.slope == pytest.approx(np.polyfit(inputs.yaw_deg, outputs, 1)[0])
    assert bias.spread_ratio == pytest.approx(np.std(outputs) / np.std(inputs.yaw_deg))


def test_hue_goes_around(inputs: Readings) -> None:
    rng = np.random.default_rng(2)
    hue = rng.normal(178, 8, COUNT)
    wrapped = (hue + 180) % 360 - 180
    moved = (hue + 12 + 180) % 360 - 180
    assert (wrapped < 0).any() and (wrapped > 0).any(), "the case must lie across the wrap"
    before = replace(inputs, hue_deg=wrapped)
    bias = attribute_bias(before, replace(inputs, hue_deg=moved))["hue_deg"]
    assert bias.mean_shift == pytest.approx(12)
    assert bias.wasserstein == pytest.approx(12)
    assert bias.spread_ratio == pytest.approx(1)
    assert bias.slope == pytest.approx(1)
    assert bias.edges[-1] - bias.edges[0] < 100


def test_yaw_does_not_go_around() -> None:
    before = np.linspace(-170, 170, COUNT)
    assert compare_groups(before, -before).slope == pytest.approx(-1)


def test_faces_that_cannot_be_read_are_left_out(inputs: Readings) -> None:
    hidden = inputs.yaw_deg.copy()
    hidden[:100] = np.nan
    lost = inputs.yaw_deg + 1
    lost[-50:] = np.nan
    bias = compare_groups(hidden, lost)
    assert bias.faces == COUNT - 150
    assert bias.mean_shift == pytest.approx(1)


def test_what_cannot_be_said_has_a_reason(inputs: Readings) -> None:
    unread = replace(inputs, mouth=np.full(COUNT, np.nan), eyes=np.full(COUNT, 0.25))
    biases = attribute_bias(unread, inputs)
    mouth, eyes = biases["mouth"], biases["eyes"]
    assert mouth.mean_shift is None and mouth.wasserstein is None
    assert mouth.reason is not None and "0 faces" in mouth.reason
    assert eyes.slope is None and eyes.spread_ratio is None
    assert eyes.reason == "the inputs do not vary"
    assert eyes.mean_shift == pytest.approx(float((inputs.eyes - 0.25).mean()))
    for bias in biases.values():
        json.dumps(asdict(bias), allow_nan=False)


def test_few_faces_say_nothing() -> None:
    few = np.arange(MIN_GROUP_FACES - 1.0)
    assert compare_groups(few, few).spread_ratio is None
    enough = np.arange(float(MIN_GROUP_FACES))
    assert compare_groups(enough, enough).spread_ratio == pytest.approx(1)


def test_constant_pictures_have_a_histogram() -> None:
    bias = compare_groups(np.zeros(20), np.zeros(20))
    assert sum(bias.inputs) == sum(bias.outputs) == 20


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 outputs of 3 inputs"):
        compare_groups(np.zeros(3), np.zeros(2))


def test_cells_count_yaw_in_rows() -> None:
    edges = (np.array([-10.0, 10.0, 20.0]), np.array([0.2]))
    yaw = np.array([-30.0, 0.0, 30.0, -30.0, 0.0, 30.0, np.nan, 0.0])
    mouth = np.array([0.1, 0.1, 0.1, 0.3, 0.3, 0.3, 0.1, np.nan])
    assert cells(yaw, mouth, edges).tolist() == [0, 2, 6, 1, 3, 7, -1, -1]


def test_novel_combinations_by_hand() -> None:
    present = [0, 1]
    # Inputs of present cells and one that was not read do not count.
    before = np.array([0, 1, 2, 2, 3, 3, 3, -1])
    after = np.array([3, 1, 2, 3, 0, 3, -1, 3])
    rate = novel_combination_rate(before, after, present)
    assert rate.inputs == 5
    assert rate.absent == pytest.approx(3 / 5)
    assert rate.own == pytest.approx(2 / 5)


def test_novel_combinations_need_absent_inputs() -> None:
    rate = novel_combination_rate(np.array([0, 1]), np.array([2, 2]), [0, 1])
    assert (rate.inputs, rate.absent, rate.own) == (0, None, None)


def test_histograms_keep_what_lies_outside() -> None:
    shares = histogram(np.array([-9.0, 0.5, 0.6, 1.5, 99.0]), np.array([0.0, 1.0, 2.0]))
    assert shares.tolist() == pytest.approx([0.6, 0.4])


def test_density_of_one_value_is_its_bell() -> None:
    at = np.linspace(-20, 24, 4401)
    density = kernel_density(np.array([2.0]), at, 3.0)
    assert density[2200] == pytest.approx(1 / (3 * np.sqrt(2 * np.pi)))
    assert density.sum() * (at[1] - at[0]) == pytest.approx(1, abs=1e-6)


# Two equal bells of SD s have two peaks where they are more than 2 s apart; the kernel widens them.
@pytest.mark.parametrize(("apart", "modes"), [(0.0, 1), (2.0, 1), (5.0, 2), (20.0, 2)])
def test_modes_of_known_mixtures(apart: float, modes: int) -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0, 1, 2000) + apart * rng.integers(0, 2, 2000)
    assert count_modes(values, 0.5) == modes


def test_ripples_are_no_modes() -> None:
    values = np.random.default_rng(4).normal(0, 1, 300)
    assert count_modes(values, 0.15) == 1
    assert count_modes(values, 0.15, prominence=0.001) > 1


def test_the_study_knows_what_it_renders() -> None:
    faces = study_bias.cell_faces("source", np.array([3, 24]), 4, "train")
    assert study_bias.cells_of(faces).tolist() == [3] * 4 + [24] * 4
    assert faces.pixels.shape == (8, 5, study_bias.STORED, study_bias.STORED)
    fewer = study_bias.cell_faces("source", np.array([24]), 2, "train")
    assert torch.equal(fewer.pixels, faces.pixels[4:6])
    other = study_bias.cell_faces("source", np.array([24]), 2, "heldout")
    assert not torch.equal(fewer.pixels, other.pixels)


def test_the_study_runs_and_goes_on(tmp_path: Path) -> None:
    scale = study_bias.Scale(
        steps=2,
        cell_steps=2,
        faces=25,
        heldout=2,
        samples=16,
        probe_faces=8,
        probe_steps=2,
        probe_heldout=4,
        heldout_of_cell=2,
        control_of_cell=2,
        control_steps=2,
    )
    probe, errors = study_bias.trained_probe(scale, tmp_path)
    assert set(errors) >= {"sharp_yaw_deg", "blurred_yaw_deg", "sharp_mouth"}
    model, sides = study_bias.trained_values((0.0, 30.0), scale, tmp_path)
    assert len(sides["source"].pixels) == 24
    faces, masks = study_bias.sampled(model, sides["source"], 16, np.random.default_rng(0))
    found = study_bias.read(probe, faces, masks)
    assert found.shape == (16, 2) and np.isfinite(found).all()
    row = study_bias.row_of(np.arange(22), scale, tmp_path, probe)
    assert row["swap"]["inputs"] == 3 * scale.heldout_of_cell
    assert 0 <= row["control"] <= 1
    again, _ = study_bias.trained_values((0.0, 30.0), scale, tmp_path)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
