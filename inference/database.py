"""A question to RawData on behalf of a caller: in a thread, and 503 with one line when it doesn't answer."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from inference.errors import Busy, DatabaseAway
from mlops_lab.errors import first_line

logger = logging.getLogger("inference")

T = TypeVar("T")

# Questions of one kind at once: further ones are refused, so that a slow database holds few threads.
AT_ONCE = 4
_asking: Counter[str] = Counter()


async def ask(what: str, work: Callable[..., T], *arguments: Any, does: str = "read or kept") -> T:
    """The answer of `work`. Raises `Busy` and `DatabaseAway`, which say that `what` can't be `does` now."""
    if _asking[what] >= AT_ONCE:
        raise Busy(f"too many requests for {what} at once; try again in a second")
    _asking[what] += 1
    try:
        return await asyncio.to_thread(work, *arguments)
    except SQLAlchemyError as error:
        logger.warning("%s: %s", what, first_line(error))
        raise DatabaseAway(f"the database doesn't answer, so {what} can't be {does}") from error
    finally:
        _asking[what] -= 1
