"""What watches the lab: its exporter and the code that makes its dashboards; rules and settings lie beside them."""
