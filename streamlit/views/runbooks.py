"""The address that alerts link to. The runbooks are on the page System, which opens the one of `?alert=NAME`."""

import streamlit as st

st.switch_page("views/system.py", query_params=st.query_params.to_dict())
