"""Reads a file as one reader does: `python read.py READER FILE`.

What reads bytes writes them to standard output; what reads rows prints how many there are and the sum of
their column n. `python read.py versions` prints the versions of what is installed.
"""

import importlib.metadata
import sys
import zlib


def rows(lines, total):
    print(int(lines), int(total))


# --- bytes ----------------------------------------------------------------------------------


def out(data):
    sys.stdout.buffer.write(data)


def gzip_open(path):
    import gzip

    with gzip.open(path) as file:
        out(file.read())


def zlib_once(path):
    with open(path, "rb") as file:
        out(zlib.decompressobj(wbits=31).decompress(file.read()))


def zlib_again(path):
    with open(path, "rb") as file:
        data = file.read()
    while data:
        decoder = zlib.decompressobj(wbits=31)
        out(decoder.decompress(data))
        data = decoder.unused_data


def isal(path):
    from isal import igzip

    with igzip.open(path) as file:
        out(file.read())


def zstandard_reader(path, **how):
    import zstandard

    with open(path, "rb") as file:
        out(zstandard.ZstdDecompressor().stream_reader(file, **how).read())


def zstandard_across(path):
    zstandard_reader(path, read_across_frames=True)


def zstandard_decompress(path):
    import zstandard

    with open(path, "rb") as file:
        out(zstandard.ZstdDecompressor().decompress(file.read(), max_output_size=1 << 30))


def zstandard_open(path):
    import zstandard

    with zstandard.open(path) as file:
        out(file.read())


def zstandard_copy(path):
    import zstandard

    with open(path, "rb") as file:
        zstandard.ZstdDecompressor().copy_stream(file, sys.stdout.buffer)


def cramjam(path):
    import cramjam

    codec = {"gz": cramjam.gzip, "zst": cramjam.zstd, "sz": cramjam.snappy}[path.rsplit(".", 1)[1]]
    with open(path, "rb") as file:
        out(bytes(codec.decompress(file.read())))


def snappy(path):
    import snappy

    with open(path, "rb") as file:
        snappy.stream_decompress(file, sys.stdout.buffer)


def arrow_stream(path):
    import pyarrow

    with pyarrow.input_stream(path) as file:
        out(file.read())


# --- rows -----------------------------------------------------------------------------------


def pandas(path):
    import pandas

    frame = pandas.read_parquet(path) if path.endswith(".parquet") else pandas.read_json(path, lines=True)
    rows(len(frame), frame["n"].astype("int64").sum())


def polars(path):
    import polars

    read = polars.scan_parquet if path.endswith(".parquet") else polars.scan_ndjson
    found = read(path).select(polars.len().alias("lines"), polars.col("n").cast(polars.Int64).sum()).collect()
    rows(found["lines"][0], found["n"][0])


def arrow(path):
    import pyarrow.compute
    import pyarrow.json
    import pyarrow.parquet

    read = pyarrow.parquet.read_table if path.endswith(".parquet") else pyarrow.json.read_json
    table = read(path)
    rows(table.num_rows, pyarrow.compute.sum(table["n"].cast("int64")).as_py())


def duckdb(path):
    import duckdb

    source = f"'{path}'" if path.endswith(".parquet") else f"read_json('{path}', format = 'newline_delimited')"
    rows(*duckdb.sql(f"SELECT count(*), sum(n::BIGINT) FROM {source}").fetchall()[0])


def datafusion(path):
    import datafusion

    context = datafusion.SessionContext()
    if path.endswith(".parquet"):
        context.register_parquet("logs", path)
    else:
        suffix = path.rsplit(".", 1)[1]
        kind = {"gz": "gzip", "zst": "zstd"}.get(suffix)
        context.register_json("logs", path, file_extension=f".{suffix}", file_compression_type=kind)
    found = context.sql("SELECT count(*) AS lines, sum(n::BIGINT) AS n FROM logs").to_pydict()
    rows(found["lines"][0], found["n"][0])


def daft(path):
    import daft

    frame = daft.read_parquet(path) if path.endswith(".parquet") else daft.read_json(path)
    found = frame.agg(daft.col("n").count().alias("lines"), daft.col("n").cast(daft.DataType.int64()).sum()).to_pydict()
    rows(found["lines"][0], found["n"][0])


def chdb(path):
    import chdb

    kind = "Parquet" if path.endswith(".parquet") else "JSONEachRow"
    found = chdb.query(f"SELECT count(), sum(toInt64(n)) FROM file('{path}', '{kind}')", "CSV")
    rows(*str(found).strip().split(","))


def spark(path):
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    read = session.read.parquet if path.endswith(".parquet") else session.read.json
    rows(*read(path).selectExpr("count(*)", "sum(cast(n AS BIGINT))").first())


def versions():
    for found in importlib.metadata.distributions():
        print(found.metadata["Name"], found.version)


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        versions()
    else:
        globals()[sys.argv[1]](sys.argv[2])
