"""What the tests share: labs, models, processes, a scripted Data API."""
