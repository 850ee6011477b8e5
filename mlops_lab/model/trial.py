"""A trial: a challenger gets live traffic beside the champion, as a tag of the registered model says.

It imports neither MLflow nor numpy: the steps write the tag, the service follows it.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Self

from mlops_lab.errors import ModelError

_TEXT = re.compile(r"(?:shadow|canary) (\d{1,9}) against (\d{1,9})(?: share (0?\.\d{1,9}))?")


@dataclass(frozen=True)
class Trial:
    """Version `version` is tried against the champion, version `champion`. It is over once another one is champion.

    share: the part of the requests that a canary answers, between 0 and 1. None: a shadow, which predicts the rows of
    the champion's requests after the replies; nobody is answered by it.
    """

    version: int
    champion: int
    share: float | None = None

    @property
    def kind(self) -> Literal["shadow", "canary"]:
        return "shadow" if self.share is None else "canary"

    def __str__(self) -> str:
        """The tag's value."""
        share = "" if self.share is None else f" share {self.share:.9f}".rstrip("0")
        return f"{self.kind} {self.version} against {self.champion}{share}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The trial in a tag's value. Raises `ModelError` when it can't be read."""
        found = _TEXT.fullmatch(text.strip())
        share = float(found[3]) if found and found[3] else None
        if found is None or text.strip().startswith("canary") == (share is None) or share == 0:
            raise ModelError(
                f"the tag of the trial can't be read: {text[:60]!r} is neither `shadow 7 against 3` nor "
                "`canary 7 against 3 share 0.1`"
            )
        return cls(int(found[1]), int(found[2]), share)

    def takes(self, use_case: str, key: bytes) -> bool:
        """Whether the canary answers the requests with this key. A greater share keeps the keys of a smaller one."""
        salted = f"{use_case}\0{self.version}\0".encode() + key
        return int.from_bytes(blake2b(salted, digest_size=8).digest()) < (self.share or 0) * 2**64
