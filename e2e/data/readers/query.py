"""Asks an engine a question about objects in a bucket: `python query.py ENGINE PREFIX SUFFIX < SQL`.

`logs` in the question is every object under PREFIX with that suffix, in folders dt=DAY/hour=HOUR. Prints the
seconds that the question took, and each row as JSON. Where the bucket is, is in the environment as for aws.
"""

import json
import os
import pathlib
import re
import sys
import time

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
BUCKET = os.environ["BUCKET"]


def duckdb(prefix, suffix, question):
    import duckdb
    import duckdb_extension_httpfs

    # As the package has it; elsewhere INSTALL httpfs fetches it.
    folder = pathlib.Path(duckdb_extension_httpfs.__file__).parent
    (extension,) = folder.glob("extensions/*/httpfs.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{ENDPOINT.split('//')[1]}', "
        "URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')"
    )
    glob = f"'s3://{BUCKET}/{prefix}/dt=*/hour=*/*{suffix}', hive_partitioning = true"
    read = f"read_parquet({glob})" if suffix == ".parquet" else f"read_json({glob}, format = 'newline_delimited')"
    begin = time.monotonic()
    rows = connection.execute(question.replace("FROM logs", f"FROM {read}")).fetchall()
    return begin, rows


def clickhouse(prefix, suffix, question):
    import chdb

    kind = "Parquet" if suffix == ".parquet" else "JSONEachRow"
    url = f"{ENDPOINT}/{BUCKET}/{prefix}/dt=*/hour=*/*{suffix}"
    question = question.replace("FROM logs", f"FROM s3('{url}', '{KEY}', '{SECRET}', '{kind}')")
    question = re.sub(r"quantile_cont\((\w+), 0\.99\)", r"quantileExact(0.99)(\1)", question)
    begin = time.monotonic()
    text = str(chdb.query(question, "JSONCompactEachRow"))
    return begin, [json.loads(line) for line in text.splitlines()]


def datafusion(prefix, suffix, question):
    import datafusion
    import pyarrow
    from datafusion.object_store import AmazonS3

    context = datafusion.SessionContext()
    store = AmazonS3(
        bucket_name=BUCKET, endpoint=ENDPOINT, access_key_id=KEY, secret_access_key=SECRET,
        region="us-east-1", allow_http=True,
    )  # fmt: skip
    context.register_object_store("s3://", store, BUCKET)
    folders = [("dt", pyarrow.string()), ("hour", pyarrow.string())]
    url = f"s3://{BUCKET}/{prefix}/"
    begin = time.monotonic()
    if suffix == ".parquet":
        context.register_parquet("logs", url, table_partition_cols=folders)
    else:
        kind = {".gz": "gzip", ".zst": "zstd"}[suffix[-4:] if suffix.endswith(".zst") else suffix[-3:]]
        context.register_json(
            "logs", url, file_extension=suffix, table_partition_cols=folders, file_compression_type=kind
        )
    question = re.sub(r"quantile_cont\((\w+), 0\.99\)", r"approx_percentile_cont(\1, 0.99)", question)
    columns = context.sql(question).to_pydict()
    return begin, list(zip(*columns.values()))


def main():
    engine, prefix, suffix = sys.argv[1:]
    begin, rows = globals()[engine](prefix, suffix, sys.stdin.read())
    print(f"{time.monotonic() - begin:.3f}")
    for row in rows:
        print(json.dumps(row, default=str))


main()
