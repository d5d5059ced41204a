#!/usr/bin/env python3
"""Registers the Parquet objects of a stream with an Apache Iceberg table: nothing is copied.

    s3log ls --json access | python3 iceberg.py logs.access

Run it after each `s3log compact --to parquet`. `s3log ls` prints the objects that manifests name, so that objects
which an ended run has left are not registered. An object is registered once; columns that are new are added to the
table. The table's own files, and with them what each object's columns have as least and greatest values, are written
under `iceberg/` in the same bucket; the catalogue is a SQLite file. Prints where the table's metadata are, which is
what DuckDB's iceberg_scan() takes.

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


def main():
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
    fresh = [path for path in objects if path not in known]
    for path in fresh:
        schema = pyarrow.parquet.read_schema(path.removeprefix("s3://"), filesystem=s3)
        # The layout is s3log's, and of this object.
        schema = schema.remove_metadata()
        table = table or catalog.create_table(name, schema)
        with table.update_schema() as update:
            update.union_by_name(schema)
    if fresh:
        table.add_files(fresh)
    print(table.metadata_location if table else "no Parquet object yet")


if __name__ == "__main__":
    main()
