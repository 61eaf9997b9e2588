"""What the actors do: the state of one frame, and smooth random performances."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

# The live type checks take no int for a float; people write `yaw_deg=20`.
Number = float | int


@dataclass(frozen=True)
class ActorState:
    """Pose, expression, light and framing of one frame. Angles are degrees."""

    yaw_deg: Number = 0.0  # > 0: the face turns to the picture's right
    pitch_deg: Number = 0.0  # > 0: the face turns up
    roll_deg: Number = 0.0  # > 0: the head tilts clockwise in the picture
    mouth: Number = 0.0  # 0 closed .. 1 wide open
    smile: Number = 0.0  # -1 pursed .. 1 broad
    blink: Number = 0.0  # 0 open .. 1 shut
    brow: Number = 0.0  # -1 frowning .. 1 raised
    gaze_x: Number = 0.0  # -1 .. 1, > 0: toward the picture's right, relative to the head
    gaze_y: Number = 0.0  # -1 .. 1, > 0: up
    light_yaw_deg: Number = -30.0  # where the key light stands: > 0: the picture's right
    light_pitch_deg: Number = 35.0  # > 0: above
    light: Number = 1.0  # strength of the key light
    ambient: Number = 1.0  # strength of the light from everywhere
    warmth: Number = 0.0  # -1 cold .. 1 warm
    shift_x: Number = 0.0  # of the head in the frame, in frame sides, > 0: right
    shift_y: Number = 0.0  # > 0: down
    scale: Number = 1.0  # 1: the eyes are 0.18 frame sides apart
    noise: Number = 0.0  # standard deviation of the camera's noise, in 8-bit levels
    noise_seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "noise_seed":
                object.__setattr__(self, field.name, float(getattr(self, field.name)))


def random_performance(
    frames: int, rate: Number, seed: int, max_yaw_deg: Number = 40.0
) -> list[ActorState]:
    """A smooth performance of somebody who talks, looks around and blinks.

    Every curve is band-limited, so neighbouring frames differ by little; `rate` is frames a
    second; |yaw| stays within `max_yaw_deg`. The same arguments give the same performance.
    """
    rng = np.random.default_rng([seed, 0x9E7F])
    time_s = np.arange(frames) / rate
    yaw = max_yaw_deg * np.clip(_wander(rng, time_s, 0.35) * 0.62, -1, 1)
    # Syllables at 1 to 3 a second, in phrases with pauses.
    phrase = np.clip(0.65 + 0.75 * _wander(rng, time_s, 0.3), 0, 1)
    syllables = np.clip(0.42 + 0.36 * _wander(rng, time_s, 1.5), 0, 1)
    smile = np.clip(0.1 + 0.35 * _wander(rng, time_s, 0.4), -0.8, 1)
    gaze = 0.45 * _wander(rng, time_s, 0.8)
    base_light = rng.uniform(-50, 50)
    curves = {
        "yaw_deg": yaw,
        "pitch_deg": np.clip(5.5 * _wander(rng, time_s, 0.4), -16, 16),
        "roll_deg": np.clip(3.5 * _wander(rng, time_s, 0.3), -12, 12),
        "mouth": np.clip(phrase * syllables, 0, 1),
        "smile": smile,
        "blink": _blinks(np.random.default_rng([seed, 0xB11]), time_s),
        "brow": np.clip(0.4 * _wander(rng, time_s, 0.6), -1, 1),
        # Eyes lead the head's turn a little: people look where they turn to.
        "gaze_x": np.clip(gaze + 0.25 * yaw / max(max_yaw_deg, 1), -1, 1),
        "gaze_y": np.clip(0.25 * _wander(rng, time_s, 0.7), -1, 1),
        "light_yaw_deg": np.clip(base_light + 12 * _wander(rng, time_s, 0.15), -70, 70),
        "light_pitch_deg": np.clip(32 + 6 * _wander(rng, time_s, 0.15), 10, 60),
        "light": np.clip(1 + 0.06 * _wander(rng, time_s, 0.25), 0.7, 1.3),
        "ambient": np.full(frames, rng.uniform(0.85, 1.15)),
        "warmth": np.full(frames, rng.uniform(-0.4, 0.4)),
        "shift_x": 0.016 * _wander(rng, time_s, 0.3) + 0.0006 * yaw,
        "shift_y": 0.010 * _wander(rng, time_s, 0.3),
        "scale": np.clip(1 + 0.03 * _wander(rng, time_s, 0.15), 0.85, 1.15),
        "noise": np.full(frames, 1.2),
    }
    rows = [{name: float(curve[i]) for name, curve in curves.items()} for i in range(frames)]
    return [ActorState(**row, noise_seed=seed * 100_003 + i) for i, row in enumerate(rows)]


def _wander(
    rng: np.random.Generator, time_s: Float[np.ndarray, " n"], hz: float
) -> Float[np.ndarray, " n"]:
    """A random curve of standard deviation about 1 with nothing faster than 2 x `hz`."""
    curve = np.zeros_like(time_s)
    for _ in range(6):
        frequency = hz * rng.uniform(0.3, 2.0)
        curve += np.sin(2 * np.pi * (frequency * time_s + rng.uniform()))
    return curve / np.sqrt(3)


def _blinks(rng: np.random.Generator, time_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Lids: about one blink in 2.5 s, each a smooth bump of 0.3 s."""
    blink = np.zeros_like(time_s)
    at = rng.uniform(0.3, 2.5)
    while at < (time_s[-1] if len(time_s) else 0) + 0.3:
        phase = np.clip((time_s - at) / 0.15, -1, 1)
        blink = np.maximum(blink, np.cos(phase * np.pi / 2) ** 2)
        at += rng.uniform(1.4, 4.0)
    # Closed lids cling for a moment; open ones are fully open.
    return np.clip(1.25 * blink - 0.05, 0, 1)
