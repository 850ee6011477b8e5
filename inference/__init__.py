"""The inference service: serves every use case's champion over HTTP, by its contract and ONNX graph alone."""
