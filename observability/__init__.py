"""The lab's monitoring: its exporter, and the renderer of its dashboards. Rules and settings lie beside them."""
