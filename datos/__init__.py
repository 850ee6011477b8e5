"""The Data API: serves data sets batch by batch, in both dialects of the course that the lab comes from."""
