"""The base: its people, how it is made, and how a run begins with it."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cast, silent
from test_train import with_training
from torch import nn

from faceswap_lite.about import describe
from faceswap_lite.actors.cast import FIRST_OF_CROWD, find_actor, random_actor
from faceswap_lite.config import Config, InitConfig, ModelConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.models.architectures import build_model
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.pretraining import crowd, pretrain
from faceswap_lite.pretraining.crowd import (
    MOMENTS,
    PEOPLE,
    Rows,
    random_moment,
    render_group,
    traits_of,
)
from faceswap_lite.pretraining.person import PersonPainter
from faceswap_lite.pretraining.pool import GROUP, Pool, sample
from faceswap_lite.pretraining.pretrain import make_base, sample_pool_batch
from faceswap_lite.runs.bases import Base, read_base, shipped_bases, write_base
from faceswap_lite.runs.checkpoints import (
    checkpoint_facts,
    checkpoint_folder,
    latest_valid_checkpoint,
    list_checkpoints,
    load_weights,
)
from faceswap_lite.runs.manifest import read_manifest
from faceswap_lite.training import initial
from faceswap_lite.training.initial import import_weights
from faceswap_lite.training.train import train

# The crowd.


def test_a_group_is_the_same_for_its_number_and_another_for_another() -> None:
    rows, again, others = (render_group(number, 32, None) for number in (3, 3, 4))
    assert rows.pixels.shape == (MOMENTS, PEOPLE, 5, 38, 38)
    assert np.array_equal(rows.pixels, again.pixels) and np.array_equal(rows.traits, again.traits)
    assert not np.array_equal(rows.pixels, others.pixels)
    assert not np.array_equal(rows.traits, others.traits)


def test_the_crowd_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def actor(seed: int) -> Any:
        seeds.append(seed)
        return random_actor(seed)

    for group in (0, 1, 7):
        render_group(group, 32, None, actor)
    assert len(set(seeds)) == 3 * PEOPLE and min(seeds) == FIRST_OF_CROWD
    assert find_actor(f"random:{FIRST_OF_CROWD - 1}") == random_actor(FIRST_OF_CROWD - 1)
    for seed in seeds:
        with pytest.raises(UsageError, match="bases learn from"):
            find_actor(f"random:{seed}")


def test_people_of_a_row_share_the_moment_and_differ_in_who_they_are() -> None:
    rows = render_group(1, 64, None)
    faces, masks = rows.pixels[:, :, :3].astype(float), rows.pixels[:, :, 3] > 127
    both = masks[:, :1] & masks[:, 1:2]

    def correlation(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
        return float(np.corrcoef(one[where], other[where])[0, 1])

    same = [
        correlation(faces[m, 0].mean(0), faces[m, 1].mean(0), both[m, 0]) for m in range(MOMENTS)
    ]
    apart = [
        correlation(faces[m, 0].mean(0), faces[m - 3, 0].mean(0), both[m, 0] & masks[m - 3, 0])
        for m in range(MOMENTS)
    ]
    # Light and pose are more of a picture than who is in it.
    assert np.median(same) > np.median(apart) + 0.15
    # Traits are those of the people, the same in each row.
    assert np.array_equal(rows.traits[0], rows.traits[-1])
    assert len(np.unique(rows.traits[0], axis=0)) == PEOPLE
    mask_share = masks.mean((2, 3))
    assert mask_share.min() > 0.1 and mask_share.max() < 0.7


def test_moments_reach_as_far_as_real_faces_do() -> None:
    rng = np.random.default_rng(0)
    moments = [random_moment(rng) for _ in range(400)]
    for name, low, high in (("yaw_deg", -45, 45), ("pitch_deg", -15, 15), ("mouth", 0.02, 0.9),
                            ("blink", 0.02, 0.9), ("light_yaw_deg", -70, 70)):  # fmt: skip
        values = [getattr(moment, name) for moment in moments]
        assert min(values) < low and max(values) > high, name


def test_traits_say_all_that_a_face_shows() -> None:
    ada = find_actor("ada")
    own = traits_of(ada)
    for change in ({"nose_width": 1.0}, {"skin": (0.1, 0.1, 0.1)}, {"hair_style": "bald"}):
        assert not np.array_equal(own, traits_of(replace(ada, **change)))
    # What is not of the face changes nothing.
    assert np.array_equal(own, traits_of(replace(ada, shirt=(0.0, 0.0, 0.0), neck_width=1.0)))
    mean, spread = crowd.traits_scale()
    scaled = (traits_of(random_actor(FIRST_OF_CROWD + 5000)) - mean) / spread
    assert np.abs(scaled).max() < 12 and (spread > 0).all()


# Who is painted.


@pytest.mark.parametrize("architecture", ["df", "liae", "original"])
def test_a_folded_person_is_painted_without_being_told(architecture: Any) -> None:
    flags = "" if architecture == "original" else "ud"
    config = ModelConfig(
        architecture=architecture, flags=flags, size=64, encoder_dims=8, inter_dims=16,
        decoder_dims=4, mask_dims=4,
    )  # fmt: skip
    network = build_model(config)
    network.tie_sides()
    painter = PersonPainter(network, 6)
    last = painter.features[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=0.02)
    faces, people = torch.rand(2, 3, 64, 64), painter.of_traits(torch.randn(1, 6)).expand(2, -1)
    with torch.no_grad():
        told, told_mask = painter(faces, people)
        untold, _ = network.paint(faces, "source")
        painter.fold(people[0])
        folded, folded_mask = network.paint(faces, "source")
        of_target, _ = network.paint(faces, "target")
    assert (told - untold).abs().max() > 1e-3
    assert torch.allclose(told, folded, atol=1e-5)
    assert told_mask is not None and folded_mask is not None
    assert torch.allclose(told_mask, folded_mask, atol=1e-5)
    assert torch.equal(folded, of_target)


# The pool.


def rows_of(number: int, *_: Any) -> Rows:
    """A group that says which one it is."""
    pixels = np.full((MOMENTS, PEOPLE, 5, 38, 38), number, np.uint8)
    traits = len(crowd.traits_scale()[0])
    return Rows(pixels, np.full((MOMENTS, PEOPLE, traits), number, np.float32))


class Here:
    """Renders at once, in this process."""

    def __init__(self, *_: Any) -> None:
        pass

    def submit(self, _render: Any, group: int, size: int) -> Any:
        from concurrent.futures import Future

        done: Future[Rows] = Future()
        done.set_result(rows_of(group))
        return done

    def shutdown(self, **_: Any) -> None:
        pass


@pytest.fixture
def quick_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceswap_lite.pretraining.pool.ProcessPoolExecutor", Here)
    monkeypatch.setattr("faceswap_lite.pretraining.pool.render_group", rows_of)


def held(pool: Pool) -> list[int]:
    return [int(pool.pixels[k * MOMENTS, 0, 0, 0, 0]) for k in range(pool.groups)]


def test_a_pool_fills_in_order_and_renews_the_oldest(quick_pool: None, tmp_path: Path) -> None:
    pool = Pool(tmp_path, 5, 32, with_mesh=False)
    pool.wind(5, 2)
    assert held(pool) == [0, 1, 2, 3, 4]
    with pool.renewal() as renew:
        renew()
        renew()
    assert held(pool) == [5, 6, 2, 3, 4]
    with pool.renewal() as renew:
        renew()
    assert held(pool) == [5, 6, 7, 3, 4]
    # Opened again it is as it was; of another size it is made anew.
    assert held(Pool(tmp_path, 5, 32, with_mesh=False)) == [5, 6, 7, 3, 4]
    assert held(Pool(tmp_path, 4, 32, with_mesh=False)) == [0, 0, 0, 0]


@pytest.mark.parametrize("renewals", [0, 3, 13])
def test_a_pool_can_be_what_it_was(quick_pool: None, tmp_path: Path, renewals: int) -> None:
    pool, known = Pool(tmp_path, 5, 32, with_mesh=False), []
    pool.wind(5, 2)
    with pool.renewal() as renew:
        for _ in range(renewals):
            known.append(held(pool))
            renew()
    known.append(held(pool))
    for made in (renewals, renewals // 2, 0):
        again = Pool(tmp_path, 5, 32, with_mesh=False)
        again.wind(5 + made, 1)
        assert held(again) == known[made]
        with again.renewal() as renew:
            for later in known[made + 1 :]:
                renew()
                assert held(again) == later
        again.wind(5 + made, 1)


@pytest.mark.parametrize("damage", ["cut", "facts", "empty", "gone"])
def test_a_damaged_pool_is_made_anew(quick_pool: None, tmp_path: Path, damage: str) -> None:
    Pool(tmp_path, 5, 32, with_mesh=False).wind(5, 1)
    file, facts = tmp_path / "pool.npy", tmp_path / "pool.json"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "facts":
        facts.write_text('{"job": "x"}')
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
    again = Pool(tmp_path, 5, 32, with_mesh=False)
    assert held(again) == [0, 0, 0, 0, 0]
    again.wind(7, 1)
    assert held(again) == [5, 6, 2, 3, 4]


def test_a_full_disk_is_one_line(
    quick_pool: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(FaceswapError, match=r"no room for the pool \(No space"):
        Pool(tmp_path, 5, 32, with_mesh=False)


def test_a_pool_goes_on_filling_where_it_was_left(
    quick_pool: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(tmp_path, 40, 32, with_mesh=False)
    rendered: list[int] = []
    breaks_at = [38]

    class Breaking(Here):
        def submit(self, _render: Any, group: int, size: int) -> Any:
            rendered.append(group)
            if group in breaks_at:
                raise KeyboardInterrupt
            return super().submit(_render, group, size)

    monkeypatch.setattr("faceswap_lite.pretraining.pool.ProcessPoolExecutor", Breaking)
    with pytest.raises(KeyboardInterrupt):
        pool.wind(40, 1)
    breaks_at.clear()
    rendered.clear()
    again = Pool(tmp_path, 40, 32, with_mesh=False)
    again.wind(40, 1)
    assert rendered == list(range(32, 40))
    assert held(again) == list(range(40))


def test_batches_come_in_twos_of_one_moment(quick_pool: None, tmp_path: Path) -> None:
    pool = Pool(tmp_path, 5, 32, with_mesh=False)
    pool.wind(5, 1)
    for place in range(len(pool.traits)):
        pool.traits[place] = np.arange(PEOPLE)[:, None]
    pixels, traits = sample(pool, np.random.default_rng(0), 6)
    assert pixels.shape[0] == traits.shape[0] == 12
    assert np.array_equal(pixels[::2], pixels[1::2])
    assert (traits[::2, 0] != traits[1::2, 0]).all()


def test_half_of_the_moments_are_painted_as_the_other_person(
    monkeypatch: pytest.MonkeyPatch, quick_pool: None, tmp_path: Path
) -> None:
    pool = Pool(tmp_path, 5, 32, with_mesh=False)
    monkeypatch.setattr(pretrain, "traits_scale", lambda: (np.zeros(50, "f4"), np.ones(50, "f4")))
    options = Config().training.model_copy(update={"batch": 8})
    batch = sample_pool_batch(pool, [], options, 7)
    places = torch.arange(16)
    assert (batch.painted != places).sum() == 8
    assert torch.equal(batch.painted // 2, places // 2)
    assert (batch.sets == -1).all()
    again, other = sample_pool_batch(pool, [], options, 7), sample_pool_batch(pool, [], options, 8)
    assert torch.equal(batch.pixels, again.pixels) and torch.equal(batch.traits, again.traits)
    assert other.pixels.shape == batch.pixels.shape
    # Real people are half of all, and nobody's true swap.
    own = [torch.full((9, 5, 38, 38), 10 + k, dtype=torch.uint8) for k in range(2)]
    mixed = sample_pool_batch(pool, own, options, 7)
    real = mixed.sets >= 0
    assert real.sum() == 8 and torch.equal(mixed.painted[real], places[real])
    assert torch.equal((mixed.pixels[real, 0, 0, 0] * 255).round(), 10.0 + mixed.sets[real])


# The stage.

TINY_BASE = ("base.crops=64", "base.steps=6", "base.renew_every=2", "training.save_every=2")


@pytest.fixture(scope="module")
def tiny(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the cast's network, made of next to nothing."""
    folder = tmp_path_factory.mktemp("tiny")
    make_base(folder / "tiny.safetensors", folder / "work", base_config(cast), say=silent)
    return folder / "tiny.safetensors"


def base_config(cast: Cast, *changes: str) -> Config:
    given = load_config(None, [*TINY_BASE, *changes])
    training = with_training(cast.config, save_every=2).training
    return cast.config.model_copy(update={"base": given.base, "training": training})


def test_a_base_says_how_it_was_made(cast: Cast, tiny: Path) -> None:
    base = read_base(tiny)
    assert base.model == cast.config.model and base.step == 6
    assert set(base.coverages) == {"face", "full", "whole"}
    groups = 64 // GROUP + 3
    assert base.recipe["people"] == PEOPLE * groups and base.recipe["crops"] == GROUP * groups
    assert base.recipe["seeds"] == [FIRST_OF_CROWD, FIRST_OF_CROWD + PEOPLE * groups - 1]
    whole = sum(t.numel() for t in build_model(cast.config.model).state_dict().values())
    # One decoder of two, in half precision.
    assert tiny.stat().st_size < 2 * whole
    # A fresh start is not what it is.
    network = build_model(cast.config.model, cast.config.training.seed)
    weights = base.weights()
    assert network.state_dict().keys() == weights.keys()
    # Biases begin at 0.
    name = "encoder.blocks.0.conv.bias"
    assert not network.state_dict()[name].any() and weights[name].any()


def test_a_base_is_made_once(cast: Cast, tiny: Path, tmp_path: Path) -> None:
    said: list[str] = []
    work = tiny.parent / "work"
    before = tiny.stat().st_mtime_ns
    make_base(tiny, work, base_config(cast), say=said.append)
    assert said == [f"{tiny}: already done"] and tiny.stat().st_mtime_ns == before
    with pytest.raises(FaceswapError, match="another base"):
        make_base(tiny, tmp_path / "w", base_config(cast, "base.steps=7"), say=silent)
    with pytest.raises(FaceswapError, match="other settings"):
        make_base(tmp_path / "b.safetensors", work, base_config(cast, "base.steps=7"), say=silent)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(FaceswapError, match="not empty"):
        make_base(tmp_path / "b.safetensors", tmp_path / "mine", base_config(cast), say=silent)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(FaceswapError, match=r"must end in \.safetensors"):
        make_base(tmp_path / "b.pt", tmp_path / "w2", base_config(cast), say=silent)


def test_a_base_goes_on_after_a_kill(
    cast: Cast, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, work, config = tmp_path / "b.safetensors", tmp_path / "work", base_config(cast)
    steps: list[int] = []

    def dying(pool: Pool, own: Any, options: Any, step: int) -> Any:
        steps.append(step)
        if steps.count(step) == 1 and step == 5:
            raise KeyboardInterrupt
        return sample_pool_batch(pool, own, options, step)

    monkeypatch.setattr(pretrain, "sample_pool_batch", dying)
    with pytest.raises(KeyboardInterrupt):
        make_base(out, work, config, say=silent)
    assert not out.exists() and latest_valid_checkpoint(work)[0] == 4
    said: list[str] = []
    make_base(out, work, config, say=said.append)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5] and "going on from step 4" in said
    assert read_base(out).step == 6 and list_checkpoints(work) == [6]
    # Killed or not, it is the same base: the pool is a function of the step.
    ours, theirs = read_base(out).weights(), read_base(tiny).weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_damaged_checkpoint_is_no_reason_to_begin_anew(cast: Cast, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "b.safetensors"
    make_base(out, work, base_config(cast), say=silent)
    out.unlink()
    (checkpoint_folder(work, 6) / "ema.safetensors").write_bytes(b"")
    with pytest.raises(FaceswapError, match="there is no valid checkpoint"):
        make_base(out, work, base_config(cast), say=silent)
    said: list[str] = []
    make_base(out, work, base_config(cast), overwrite=True, say=said.append)
    assert read_base(out).step == 6 and not any("going on" in line for line in said)


@pytest.mark.parametrize(
    ("change", "told"),
    [("training.lr=auto", "set a rate"), ("training.optimizer.kind=schedulefree", "schedulefree")],
)
def test_what_a_base_cannot_learn_by(cast: Cast, tmp_path: Path, change: str, told: str) -> None:
    config = load_config(None, [*TINY_BASE, change])
    with pytest.raises(FaceswapError, match=told):
        make_base(tmp_path / "b.safetensors", tmp_path / "work", config, say=silent)
    assert not (tmp_path / "work").exists()


def test_a_base_is_made_by_one_process(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(FaceswapError, match="without torchrun"):
        make_base(tmp_path / "b.safetensors", tmp_path / "work", base_config(cast), say=silent)


def test_a_base_of_real_faces(cast: Cast, tmp_path: Path) -> None:
    sets = [open_face_set(cast.source), open_face_set(cast.target)]
    out = tmp_path / "own.safetensors"
    make_base(out, tmp_path / "work", base_config(cast), sets, say=silent)
    recipe = read_base(out).recipe
    assert all(0 < seen < len(one.faces) for seen, one in zip(recipe["faces"], sets, strict=True))
    # A run that begins with it holds out what it has not seen, and says what clips it knows.
    config = with_training(cast.config, steps=1, heldout={"share": 0.3})
    config = config.model_copy(update={"init": InitConfig(run=str(out))})
    train(sets[0], sets[1], tmp_path / "run", config, say=silent)
    manifest = read_manifest(tmp_path / "run")
    fresh = with_training(cast.config, steps=1)
    train(sets[0], sets[1], tmp_path / "fresh", fresh, say=silent)
    for side in SIDES:
        of_fresh = read_manifest(tmp_path / "fresh").of(side)
        assert manifest.of(side).groups == of_fresh.groups
        assert set(of_fresh.clips) < set(manifest.of(side).clips)
    head = [replace(sets[0], coverage="head")]
    with pytest.raises(FaceswapError, match="its coverage is head"):
        make_base(tmp_path / "c.safetensors", tmp_path / "w2", base_config(cast), head, say=silent)
    assert not (tmp_path / "w2").exists()


def test_info_tells_of_a_base(tiny: Path, tmp_path: Path) -> None:
    text = describe(tiny)
    assert read_base(tiny).fingerprint() in text and "no real one" in text
    assert "seeds 100000 to" in text and "df-d, 32 px, dims 8, 16, 6, 4" in text
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(FaceswapError, match="is not a base"):
        describe(tmp_path / "no.safetensors")


# Beginning with one.


def test_which_runs_fit_a_base(tiny: Path, cast: Cast) -> None:
    base = read_base(tiny)
    assert base.why_not(cast.config.model, "full") == ""
    assert "head" in base.why_not(cast.config.model, "head")
    other = cast.config.model.model_copy(update={"inter_dims": 32})
    assert base.why_not(other, "full") == "its model.inter_dims is 16, not 32"


@pytest.fixture
def shipped(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    base = read_base(tiny)
    monkeypatch.setattr(initial, "shipped_bases", lambda: (base,))
    return base


def begun(config: Config, **init: Any) -> tuple[Any, Any]:
    network = build_model(config.model, 5)
    named = config.model_copy(update={"init": InitConfig.model_validate(init)})
    return network, import_weights(network, named, "full")


def test_a_run_begins_with_the_package_s_base(cast: Cast, shipped: Base) -> None:
    network, imported = begun(cast.config)
    state = network.state_dict()
    assert imported.lines == ["begins with the base tiny"]
    assert all(torch.equal(state[name], w) for name, w in shipped.weights().items())
    one, other = (
        {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(part)}
        for part in network.tied_parts
    )
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    (origin,) = imported.lineage
    assert origin["run"] == "base tiny" and origin["fingerprint"] == shipped.fingerprint()
    assert origin["step"] == 6 and len(origin["parts"]) == 4


def test_all_parts_of_a_base_or_none(cast: Cast, shipped: Base) -> None:
    wider = cast.config.model_copy(
        update={"model": cast.config.model.model_copy(update={"decoder_dims": 8})}
    )
    network, imported = begun(wider)
    assert "no base of this network" in imported.lines[0] and not imported.lineage
    assert all(torch.equal(v, build_model(wider.model, 5).state_dict()[k])
               for k, v in network.state_dict().items())  # fmt: skip
    _, fresh = begun(cast.config, run="none")
    assert fresh.lines == ["begins with fresh weights"] and not fresh.lineage


def test_a_base_s_file_is_named_like_a_run(cast: Cast, tiny: Path, tmp_path: Path) -> None:
    _, imported = begun(cast.config, run=str(tiny))
    assert imported.lines == ["begins with the base tiny"]
    _, imported = begun(cast.config, run=str(tiny), parts=["encoder"])
    assert imported.lineage[0]["parts"] == ["encoder"]
    wider = cast.config.model.model_copy(update={"decoder_dims": 8})
    with pytest.raises(FaceswapError, match=r"decoder_dims is 6, not 8"):
        begun(cast.config.model_copy(update={"model": wider}), run=str(tiny))
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(FaceswapError, match="is not a base"):
        begun(cast.config, run=str(tmp_path / "no.safetensors"))
    with pytest.raises(FaceswapError, match="cannot be read"):
        begun(cast.config, run=str(tmp_path / "nowhere.safetensors"))


def test_a_liae_s_base_comes_back_whole(tmp_path: Path) -> None:
    config = ModelConfig(architecture="liae", size=32, encoder_dims=4, inter_dims=16,
                         decoder_dims=4, mask_dims=4)  # fmt: skip
    network = build_model(config, 3)
    network.tie_sides()
    write_base(tmp_path / "l.safetensors", network, config, {}, 1, ("full",))
    weights = read_base(tmp_path / "l.safetensors").weights()
    fresh = build_model(config)
    fresh.load_state_dict(weights)
    faces = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for side in SIDES:
            ours, theirs = network.paint(faces, side)[0], fresh.paint(faces, side)[0]
            assert torch.allclose(ours, theirs, atol=2e-3)


def test_a_run_records_its_base_and_resumes_without_it(
    cast: Cast, shipped: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    said: list[str] = []
    train(source, target, tmp_path / "run", with_training(cast.config, steps=2), say=said.append)
    assert "begins with the base tiny" in said
    assert read_manifest(tmp_path / "run").lineage[0]["fingerprint"] == shipped.fingerprint()
    # A later package may have another base, or none.
    monkeypatch.setattr(initial, "shipped_bases", lambda: ())
    train(source, target, tmp_path / "run", with_training(cast.config, steps=4), say=said.append)
    assert read_manifest(tmp_path / "run").lineage[0]["fingerprint"] == shipped.fingerprint()


def test_what_makes_codes_learns_slowly_in_a_run_that_begins_with_a_base(
    cast: Cast, shipped: Base, tmp_path: Path
) -> None:
    source, target = open_face_set(cast.source), open_face_set(cast.target)

    def trained(name: str, steps: int, **init: Any) -> tuple[Path, list[float]]:
        config = with_training(cast.config, steps=steps, augment={"kind": "hand"})
        config = config.model_copy(update={"init": InitConfig.model_validate(init)})
        train(source, target, tmp_path / name, config, say=silent)
        facts = checkpoint_facts(tmp_path / name, steps)["optimizer"]["param_groups"]
        return tmp_path / name, [group.get("share", 1.0) for group in facts]

    run, shares = trained("run", 4)
    assert shares == [0.1, 0.1, 1.0]
    # Stopped between and resumed, it ends with the same bits.
    trained("halves", 2)
    halves, _ = trained("halves", 4)
    whole, again = (load_weights(path, 4, "model") for path in (run, halves))
    assert all(torch.equal(again[name], w) for name, w in whole.items())
    # At the full rate, or from fresh weights, all learn alike.
    assert trained("full", 2, code_rate=1.0)[1] == [1.0]
    assert trained("fresh", 2, run="none")[1] == [1.0]
    # A run stored before there was a choice goes on as it began.
    stored = tmp_path / "full" / "config.yaml"
    older = stored.read_text().replace("  settle_steps: 100\n", "")
    stored.write_text(older.replace("  code_rate: 1.0\n", ""))
    assert load_config(stored).init.settle_steps == 0
    assert load_config(stored).init.code_rate == 1.0
    assert trained("full", 4)[1] == [1.0]
    assert load_config(stored).init.settle_steps == 0
    # A fit goes on from people: its parts are no base's any more.
    assert trained("fit", 2, run=str(run))[1] == [1.0]


def test_a_run_settles_on_its_base_first(cast: Cast, shipped: Base, tmp_path: Path) -> None:
    """What makes codes learns fast at first, and eyes and mouth count little."""
    source, target = open_face_set(cast.source), open_face_set(cast.target)

    def trained(name: str, steps: int, **init: Any) -> Path:
        config = with_training(cast.config, steps=steps, log_every=1)
        config = config.model_copy(update={"init": InitConfig.model_validate(init)})
        train(source, target, tmp_path / name, config, say=silent)
        return tmp_path / name

    def rates(run: Path, step: int) -> list[float]:
        groups = checkpoint_facts(run, step)["optimizer"]["param_groups"]
        return [group["lr"] / groups[-1]["lr"] for group in groups]

    def first_loss(run: Path) -> float:
        lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
        return next(float(line["loss"]) for line in lines if line["step"] == 1 and "loss" in line)

    plain, slowly = trained("plain", 1, settle_steps=0), trained("slowly", 4, settle_steps=4)
    assert rates(plain, 1) == pytest.approx([0.1, 0.1, 1.0])
    assert rates(slowly, 4) == pytest.approx([0.325, 0.325, 1.0]), "three quarters of the way"
    assert rates(trained("slowly", 6, settle_steps=4), 6) == pytest.approx([0.1, 0.1, 1.0])
    # Of the same faces and weights; no pixel counts more than another one in the face.
    assert first_loss(slowly) != pytest.approx(first_loss(plain), rel=1e-3)
    # Stopped and resumed, it ends with the same bits.
    whole = trained("whole", 6, settle_steps=4)
    ends = [load_weights(run, 6, "model") for run in (whole, slowly)]
    assert all(torch.equal(ends[1][name], w) for name, w in ends[0].items())
    # Fresh weights, and those of people, have nothing to settle on.
    config = InitConfig(settle_steps=4)
    assert initial.settle_steps(config, []) == 0
    assert initial.settle_steps(config, [{"run": str(plain), "step": 1}]) == 0
    assert initial.settle_steps(config, read_manifest(plain).lineage) == 4


def test_a_run_from_before_there_were_bases_goes_on_from_its_own_weights(
    cast: Cast, shipped: Base, tmp_path: Path
) -> None:
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    old = cast.config.model_copy(update={"init": InitConfig(run="none")})
    train(source, target, tmp_path / "run", with_training(old, steps=2), say=silent)
    stored = tmp_path / "run" / "config.yaml"
    stored.write_text(stored.read_text().replace("run: none", "run: null"))
    assert load_config(stored).init.run == "none"
    said: list[str] = []
    today = with_training(cast.config, steps=4)
    assert today.init.run == "base"
    assert train(source, target, tmp_path / "run", today, say=said.append).step == 4
    assert any("resuming at step 2" in line for line in said)
    assert load_config(stored).init.run == "none"
    asked = today.model_copy(update={"init": InitConfig(run="base")})
    with pytest.raises(FaceswapError, match=r"init\.run none there, base now"):
        train(source, target, tmp_path / "run", asked, say=silent)


def test_the_package_s_own_bases() -> None:
    assert {base.name for base in shipped_bases()} == {"quick64", "quick128"}
    for base in shipped_bases():
        preset = load_config(base.name)
        assert base.model == preset.model, base.name
        assert base.file.stat().st_size <= 12 * 2**20
        assert base.why_not(preset.model, "face") == base.why_not(preset.model, "whole") == ""
        weights = base.weights()
        build_model(preset.model).load_state_dict(weights)
        assert base.recipe["seeds"][0] >= FIRST_OF_CROWD
