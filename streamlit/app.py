"""The lab's web UI, for `streamlit run streamlit/app.py`. It calls the services over HTTP and imports no use case."""

import ui_frame

import streamlit as st

# Before the navigation, which would take the page's own icon, and that comes from another host.
st.set_page_config(page_icon=ui_frame.ICON)
page = st.navigation(
    [
        st.Page("views/loop.py", title="Loop", icon=":material/autorenew:", default=True),
        st.Page("views/predict.py", title="Predict", icon=":material/tune:"),
        st.Page("views/models.py", title="Models", icon=":material/leaderboard:"),
        st.Page("views/data.py", title="Data", icon=":material/database:"),
        st.Page("views/live.py", title="Live", icon=":material/show_chart:"),
        st.Page("views/own_data.py", title="Own data", icon=":material/table_view:"),
        st.Page("views/system.py", title="System", icon=":material/monitor_heart:"),
        st.Page("views/runbooks.py", title="Runbooks", visibility="hidden"),
    ],
    position="top",
)
ui_frame.head(page.title)
page.run()
