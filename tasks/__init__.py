"""The seam: Prefect tasks and Ray actors around `storage` and `model`."""
