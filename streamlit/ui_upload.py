"""An uploaded file: its name, its place on disk while it is read, and what was made of it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

# Megabytes of an upload. Streamlit holds it in memory.
MAX_MB = 20


def name_of_upload(upload: Any) -> str:
    """The file's name as a name in a folder; the browser says it."""
    return re.sub(r"[^\w. ()-]", "_", Path(upload.name).name)[-100:]


@contextmanager
def on_disk(upload: Any) -> Iterator[Path]:
    """The upload as a file of its own name, in a folder that is removed."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name_of_upload(upload)
        path.write_bytes(upload.getbuffer())
        yield path


def kept(what: str, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
    """What was made for this key, kept in the session: each change on the page runs it again."""
    if st.session_state.get(what, ((),))[0] != key:
        st.session_state[what] = (key, make())
    return st.session_state[what][1]
