"""The Gradio page: a small version of the web UI, made from the contract. It calls the prediction API over HTTP."""
