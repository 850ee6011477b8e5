"""From the Data API to clean, typed, split rows."""
