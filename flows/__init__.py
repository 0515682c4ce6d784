"""Only wiring: Prefect flows that a non-programmer can follow, and the command line."""
