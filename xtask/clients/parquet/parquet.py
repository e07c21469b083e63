"""Reads what `weir export --format parquet` wrote with pyarrow, and compares every row with what the same export wrote as lines of JSON."""

import json
import sys
from datetime import timezone

import pyarrow.parquet

parquet, ndjson = sys.argv[1:]


def as_json(value):
    if hasattr(value, "isoformat"):
        return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


table = pyarrow.parquet.read_table(parquet)
rows = [{name: as_json(value) for name, value in row.items()} for row in table.to_pylist()]
with open(ndjson, encoding="utf-8") as lines:
    expected = [json.loads(line) for line in lines]
if rows != expected:
    different = next((pair for pair in zip(rows, expected) if pair[0] != pair[1]), (len(rows), len(expected)))
    sys.exit(f"pyarrow reads something else: {different}")
if not rows or "uint64" not in str(table.schema.field("balance").type) or "UTC" not in str(table.schema.field("at").type):
    sys.exit(f"the types are not those of the document: {table.schema}")
print(f"{len(rows)} rows, as the lines of JSON have them")
