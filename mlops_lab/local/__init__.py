"""Running the lab on this machine: the embedded services, their supervision, the demo."""
