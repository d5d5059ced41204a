"""Asks an engine a question about objects in a bucket: `python query.py ENGINE PREFIX SUFFIX < SQL`.

`logs` in the question is every object under PREFIX with that suffix, in folders dt=DAY/hour=HOUR; for `iceberg`,
PREFIX is where a table's metadata are. Prints the seconds that the question took, and each row as JSON. Where the
bucket is, is in the environment as for aws.
"""

import importlib
import json
import os
import pathlib
import re
import sys
import time

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
BUCKET = os.environ["BUCKET"]


def duckdb_with(*extensions):
    import duckdb

    connection = duckdb.connect()
    for name in extensions:
        # As a package has it; elsewhere INSTALL fetches it.
        folder = pathlib.Path(importlib.import_module(f"duckdb_extension_{name}").__file__).parent
        (extension,) = folder.glob(f"extensions/*/{name}.duckdb_extension")
        connection.execute(f"LOAD '{extension}'")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{ENDPOINT.split('//')[1]}', "
        "URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')"
    )
    return connection


def duckdb(prefix, suffix, question):
    connection = duckdb_with("httpfs")
    glob = f"'s3://{BUCKET}/{prefix}/dt=*/hour=*/*{suffix}', hive_partitioning = true"
    read = f"read_parquet({glob})" if suffix == ".parquet" else f"read_json({glob}, format = 'newline_delimited')"
    begin = time.monotonic()
    rows = connection.execute(question.replace("FROM logs", f"FROM {read}")).fetchall()
    return begin, rows


def iceberg(prefix, _, question):
    connection = duckdb_with("httpfs", "avro", "iceberg")
    # An Iceberg table has no folders: the hour is that of the line.
    connection.execute("SET TimeZone = 'UTC'")
    question = question.replace("hour = '23'", "s3log_time >= TIMESTAMPTZ '2026-11-22 23:00:00+00'")
    table = f"(SELECT *, strftime(s3log_time, '%H') AS hour FROM iceberg_scan('{prefix}'))"
    begin = time.monotonic()
    rows = connection.execute(question.replace("FROM logs", f"FROM {table}")).fetchall()
    return begin, rows


def polars(prefix, suffix, question):
    import polars

    options = {
        "aws_endpoint_url": ENDPOINT, "aws_access_key_id": KEY, "aws_secret_access_key": SECRET,
        "aws_region": "us-east-1", "aws_allow_http": "true",
    }  # fmt: skip
    how = {"storage_options": options, "credential_provider": None}
    url = f"s3://{BUCKET}/{prefix}/**/*{suffix}"
    begin = time.monotonic()
    if suffix == ".parquet":
        folders = {"dt": polars.String, "hour": polars.String}
        frame = polars.scan_parquet(url, hive_partitioning=True, hive_schema=folders, **how)
    else:
        frame = polars.scan_ndjson(url, include_file_paths="path", **how)
        frame = frame.with_columns(hour=polars.col("path").str.extract(r"/hour=(\d+)/"))
    rows = polars.SQLContext(logs=frame).execute(question).collect().rows()
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


def spark(prefix, suffix, question):
    from pyspark.sql import SparkSession

    jars = pathlib.Path(os.environ["READERS"]) / "spark-s3a"
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.driver.extraClassPath": f"{jars}/*", "spark.driver.memory": "2g", "spark.ui.enabled": "false",
        "spark.log.level": "ERROR", "spark.sql.session.timeZone": "UTC",
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        "spark.hadoop.fs.s3a.endpoint": ENDPOINT, "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
        "spark.hadoop.fs.s3a.path.style.access": "true", "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.access.key": KEY, "spark.hadoop.fs.s3a.secret.key": SECRET,
    }  # fmt: skip
    session = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    question = re.sub(r"quantile_cont\((\w+), 0\.99\)", r"percentile(\1, 0.99)", question)
    # Else decimals, whose average has five digits.
    question = re.sub(r"\b[01]\.0\b", r"\g<0>D", question)
    begin = time.monotonic()
    base = f"s3a://{BUCKET}/{prefix}/"
    # Not of the base alone: beside the folders of the hours are manifests, which Spark takes for a mistake.
    reader, url = session.read.option("basePath", base), f"{base}dt=*/hour=*/*{suffix}"
    frame = reader.parquet(url) if suffix == ".parquet" else reader.json(url)
    frame.createOrReplaceTempView("logs")
    return begin, [tuple(row) for row in session.sql(question).collect()]


def main():
    engine, prefix, suffix = sys.argv[1:]
    begin, rows = globals()[engine](prefix, suffix, sys.stdin.read())
    print(f"{time.monotonic() - begin:.3f}")
    for row in rows:
        print(json.dumps(row, default=str))


main()
