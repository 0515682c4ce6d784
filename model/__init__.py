"""Memory-V2V (arXiv 2601.16296): the method, as a library that knows neither Prefect, Ray nor LanceDB.

The numpy half (types, config, errors, shots, segments, stitching, schedule, camera geometry, retrieval) imports no
torch; the rest does. Importing this package alone loads nothing.
"""
