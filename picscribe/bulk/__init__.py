"""Bulk captioning: many photos and videos, each exactly once, into many kinds of outputs, on one machine or many.

from picscribe.bulk import Engine, Limits, Options, Run

options = Options(inputs=("photos",), outputs=("txt", "captions.jsonl"))
summary = Run(options, lambda copies: Engine(picscribe.load("nano"), options.work, options.limits)).go()
"""

from picscribe.bulk.engine import Engine, Limits
from picscribe.bulk.failures import CLASSES, DiskFull, Failure
from picscribe.bulk.inputs.decode_worker import Settings
from picscribe.bulk.inputs.selection import Selection
from picscribe.bulk.running import Options, Run, Summary
from picscribe.bulk.status import Status, status_of
from picscribe.bulk.work import Work

__all__ = [
    "CLASSES",
    "DiskFull",
    "Engine",
    "Failure",
    "Limits",
    "Options",
    "Run",
    "Selection",
    "Settings",
    "Status",
    "Summary",
    "Work",
    "status_of",
]
