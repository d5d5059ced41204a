#!/usr/bin/env python3
"""Registers the Parquet objects of a stream with an Apache Iceberg table: nothing is copied.

    set -o pipefail
    s3log ls --json access | python3 iceberg.py logs.access

Run it after each `s3log compact --to parquet`. `s3log ls` prints the objects that manifests name, so that objects
which an ended run has left are not registered. An object is registered once; columns that are new are added to the
table. The table's own files, and with them what each object's columns have as least and greatest values, are written
under `iceberg/` in the same bucket; the catalogue is a SQLite file. Prints where the table's metadata are, which is
what DuckDB's iceberg_scan() takes.

An object that the table cannot take is named on stderr, and the others are registered: one with a column whose type is
another than the table's, one that is gone, one that is no Parquet. The exit status is 1 then, and in each later run
as long as the object is listed; it is 2 for arguments that are not understood.

Needs pyiceberg[pyarrow,sql-sqlite]. The bucket and the credentials are in the environment, as for the aws command:
BUCKET, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION. ICEBERG_CATALOG is the catalogue's
URI, sqlite:///iceberg.db by default.
"""

import json
import os
import sys

import pyarrow.parquet
from pyarrow.fs import S3FileSystem
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import ValidationError

USAGE = "usage: s3log ls --json STREAM | iceberg.py NAMESPACE.TABLE"


def main():
    if len(sys.argv) != 2 or "" in sys.argv[1].split(".") or "." not in sys.argv[1]:
        print(USAGE, file=sys.stderr)
        return 2
    name, bucket, endpoint = sys.argv[1], os.environ["BUCKET"], os.environ["AWS_ENDPOINT_URL"]
    region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    s3 = S3FileSystem(access_key=key, secret_key=secret, endpoint_override=endpoint, region=region)
    rows = map(json.loads, sys.stdin)
    objects = [f"s3://{bucket}/{row['key']}" for row in rows if row["key"].endswith(".parquet")]
    catalog = SqlCatalog(
        "s3log",
        **{
            "uri": os.environ.get("ICEBERG_CATALOG", "sqlite:///iceberg.db"), "warehouse": f"s3://{bucket}/iceberg",
            "s3.endpoint": endpoint, "s3.access-key-id": key, "s3.secret-access-key": secret, "s3.region": region,
        },
    )  # fmt: skip
    catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
    table = catalog.load_table(name) if catalog.table_exists(name) else None
    known = set(table.inspect.files()["file_path"].to_pylist()) if table else set()
    taken, refused = [], 0
    for path in objects:
        if path in known:
            continue
        try:
            schema = pyarrow.parquet.read_schema(path.removeprefix("s3://"), filesystem=s3)
            # The layout is s3log's, and of this object.
            schema = schema.remove_metadata()
            table = table or catalog.create_table(name, schema)
            with table.update_schema() as update:
                update.union_by_name(schema)
        except (ValidationError, FileNotFoundError, pyarrow.ArrowInvalid) as why:
            # The first has lines of its own that draw the type.
            print(f"iceberg: {path} is not registered: {' '.join(str(why).split())}", file=sys.stderr)
            refused += 1
        else:
            taken.append(path)
    if taken:
        table.add_files(taken)
    print(table.metadata_location if table else "no Parquet object yet")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
