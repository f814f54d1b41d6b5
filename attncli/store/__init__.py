"""All files that attncli writes, and the runs that it reads back.

files    one file, whole or not at all            folder   the folder of a run and its manifest
text     JSON, safe names                         tables   tables as CSV, JSON Lines, Parquet
arrays   safetensors and npz, never pickle        runs     saved runs (codec: as plain values and arrays)
edges    edges.parquet, while they are found      profile  its tables, the long one head by head
page     the page of attncli view                patterns what heads do
flow     rollout and attention flow
analyses what segments and compare find
likeness which heads are alike
checks   what became of rules, baselines          junit    the same for CI servers
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

__all__ = [
    "EdgesFile",
    "OutputFolder",
    "SavedRun",
    "analysis_document",
    "atomic_file",
    "default_folder",
    "digest",
    "input_sha256",
    "json_text",
    "load_arrays",
    "manifest_files",
    "open_run",
    "run_document",
    "save_run",
    "table_csv",
    "table_jsonl",
    "table_parquet",
    "write_analysis",
    "write_page",
]
