"""A Prometheus exporter for what no service says of itself: queue, databases, the batch ledger, who answers."""
