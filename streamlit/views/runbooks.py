"""Runbooks: what each alert means and what to do, from docs/runbooks.md. `?alert=NAME` shows one of them."""

from pathlib import Path

import streamlit as st

FILE = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"

# The page's head has the title.
text = FILE.read_text(encoding="utf-8").removeprefix("# Runbooks\n")
start, *sections = text.split("\n## ")
chosen = next((s for s in sections if s.partition("\n")[0].strip() == st.query_params.get("alert")), None)
if chosen:
    st.markdown(f"## {chosen}")
    st.markdown("[All runbooks](runbooks)")
else:
    st.markdown(text)
