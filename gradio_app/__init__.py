"""The Gradio page: the familiar small twin of the web UI, made from the contract and speaking HTTP only."""
