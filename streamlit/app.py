"""The lab's web UI, for `streamlit run streamlit/app.py`. It calls the services over HTTP and imports no use case."""

import ui_frame

import streamlit as st

page = st.navigation(
    [
        st.Page("views/predict.py", title="Predict", icon=":material/tune:", default=True),
        st.Page("views/models.py", title="Models", icon=":material/leaderboard:"),
        st.Page("views/data.py", title="Data", icon=":material/database:"),
        st.Page("views/system.py", title="System", icon=":material/monitor_heart:"),
        st.Page("views/runbooks.py", title="Runbooks", icon=":material/menu_book:"),
    ],
    position="top",
)
ui_frame.head(page.title)
page.run()
