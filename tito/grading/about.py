"""What a journal and the reports say of a batch: how it was graded, which part of it this is, and who is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tito.grading.conditions import Conditions
from tito.grading.options import Shard
from tito.grading.submission import Submission


@dataclass(frozen=True)
class About:
    """roll: a hash of everybody in the batch, in this part or another."""

    conditions: Conditions
    shard: Shard
    roll: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> About:
        return cls(Conditions.from_json(data["conditions"]), Shard(**data["shard"]), data["roll"])


def roll(submissions: Iterable[Submission]) -> str:
    """A hash of who is in a batch and with what."""
    listed = sorted((one.name, one.digest, one.refused) for one in submissions)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
