"""Files that attncli writes, and the saved runs that it reads.

files    atomic files                        folder   the folder of a run and its manifest
text     JSON text, safe names               tables   CSV, JSON Lines, Parquet; documents of results
arrays   safetensors and npz files           runs     saved runs (codec: conversion to plain values and arrays)
foreign  attention maps of other tools           partial  results of runs that are not complete
shard_files  parts of runs on a corpus    series_files  tables of the checkpoints of a series
"""

from attncli.store.arrays import load_arrays
from attncli.store.files import write_atomic
from attncli.store.folder import OutputFolder, default_folder, digest, input_sha256, run_document
from attncli.store.partial import PartialFile, PartialResults
from attncli.store.runs import RunParts, open_run, save_run
from attncli.store.tables import analysis_document, edges_file, table_csv
from attncli.store.text import json_text

__all__ = ["OutputFolder", "PartialFile", "PartialResults", "RunParts", "analysis_document", "default_folder"]
__all__ += ["digest", "edges_file", "input_sha256"]
__all__ += ["json_text", "load_arrays", "open_run", "run_document", "save_run", "table_csv"]
__all__ += ["write_atomic"]
