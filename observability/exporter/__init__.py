"""A Prometheus exporter for services without metrics of their own: queue, databases, ledger, pages."""
