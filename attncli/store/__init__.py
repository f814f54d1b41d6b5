"""Files that attncli writes, and the saved runs that it reads.

files      atomic files                            folder     the folder of a run and its manifest
text       JSON text, safe names                   tables     statistics and tables: JSON, CSV, JSON Lines, Parquet
documents  results of analyses                     edges      edges.parquet, written during the forward pass
arrays     safetensors and npz files               runs       saved runs (codec: conversion to plain values and arrays)
page       HTML pages                              foreign    attention maps of other tools
"""

from attncli.store.arrays import load_arrays
from attncli.store.documents import analysis_document, write_analysis
from attncli.store.edges import EdgesFile
from attncli.store.files import atomic_file
from attncli.store.folder import OutputFolder, default_folder, digest, input_sha256, manifest_files, run_document
from attncli.store.page import write_page
from attncli.store.runs import SavedRun, open_run, save_run
from attncli.store.tables import table_csv, table_jsonl, table_parquet
from attncli.store.text import json_text

__all__ = ["EdgesFile", "atomic_file", "json_text", "load_arrays", "write_page"]
__all__ += ["OutputFolder", "default_folder", "digest", "input_sha256", "manifest_files", "run_document"]
__all__ += ["SavedRun", "analysis_document", "open_run", "save_run", "write_analysis"]
__all__ += ["table_csv", "table_jsonl", "table_parquet"]
