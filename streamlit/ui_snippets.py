"""The row of the form as a curl command and as a Python program, to be copied into a terminal."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ui_settings import settings

import streamlit as st
from mlops_lab.contract import Contract

# The variable that has the API key, where the service requires one: a copied text must not hold the key itself.
KEY = "LAB_API_KEY"


def snippets(contract: Contract, row: Mapping[str, Any]) -> None:
    """The part of the page Predict that gives the row to copy."""
    with st.expander("Copy as curl or Python", icon=":material/content_copy:"):
        url, keyed = (
            f"{settings().inference_link}/predict/{contract.use_case}",
            settings().api_key is not None,
        )
        st.code(curl(url, row, keyed), language=None, wrap_lines=True)
        st.code(python(url, row, keyed), language=None, wrap_lines=True)
        if keyed:
            st.caption(f"`{KEY}` is the API key: `export {KEY}=…` before.")


def curl(url: str, row: Mapping[str, Any], keyed: bool) -> str:
    """The request as a command of a POSIX shell."""
    key = f' -H "Authorization: Bearer ${KEY}"' if keyed else ""
    body = json.dumps(row, ensure_ascii=False)
    return f"curl -s {shlex.quote(url)} -H 'Content-Type: application/json'{key} \\\n  -d {shlex.quote(body)}"


def python(url: str, row: Mapping[str, Any], keyed: bool) -> str:
    """The request as a Python program without further packages."""
    fields = "".join(f"    {name!r}: {value!r},\n" for name, value in row.items())
    key = f', "Authorization": f"Bearer {{os.environ[\'{KEY}\']}}"' if keyed else ""
    return (
        f"import json\n{'import os' + chr(10) if keyed else ''}from urllib.request import Request, urlopen\n\n"
        f"row = {{\n{fields}}}\n"
        f'headers = {{"Content-Type": "application/json"{key}}}\n'
        f"with urlopen(Request({url!r}, json.dumps(row).encode(), headers)) as reply:\n"
        "    print(json.load(reply))\n"
    )
