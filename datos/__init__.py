"""The Data API: serves data sets batch by batch, in both API variants of the course that the lab comes from."""
