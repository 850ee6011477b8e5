"""From clean rows to a registered, promoted, explained model."""
