"""A catalog's manifest: read strictly, checked as a whole, described by a schema, and built from a folder of videos."""

from storage.catalog.building import build_catalog, write_manifest
from storage.catalog.faults import Fault
from storage.catalog.places import output_folder
from storage.catalog.reading import Catalog, find_faults, read_catalog
from storage.catalog.schema import catalog_schema

__all__ = [
    "Catalog",
    "Fault",
    "build_catalog",
    "catalog_schema",
    "find_faults",
    "output_folder",
    "read_catalog",
    "write_manifest",
]
