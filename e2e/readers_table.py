"""The readers that `e2e readers` runs, and how each is started.

A row is one way to read, as the page names it. Its command reads the file $F and writes the bytes of the
lines, or, where it ends in `| rows`, prints the number of rows and the sum of their column n. What a machine
lacks is left out, by `needs`.
"""

import collections

# The forms in which lines are in a bucket, as the page's columns have them.
FORMS = {
    "gz": "gzip block", "zst": "zstd block", "sz": "snappy block",
    "one.gz": "compacted, gzip", "one.zst": "compacted, zstd", "parquet": "compacted, Parquet",
}  # fmt: skip
GZIP, ZSTD, SNAPPY = ("gz", "one.gz"), ("zst", "one.zst"), ("sz",)
PARQUET = ("parquet",)
EVERYTHING = (*GZIP, *ZSTD, *SNAPPY, *PARQUET)

Row = collections.namedtuple("Row", "name version needs command forms rows")


def program(name, command, forms, version=None, needs=None):
    """A program on the PATH."""
    needs = needs or command.split()[0]
    return Row(name, version or f"{needs} --version", needs, command, forms, False)


def python(name, reader, forms, package=None, venv="python", rows=False):
    """A function of read.py; `package` is whose version is shown, Python's own without one."""
    run = f"$READERS/{venv}/bin/python"
    version = f"{run} $HERE/read.py versions | grep -i '^{package} '" if package else f"{run} --version"
    return Row(name, version, run, f"{run} $HERE/read.py {reader} $F", forms, rows)


def java(name, reader, forms, jar=None):
    jars = "$(echo $READERS/spark/lib/python3*/site-packages/pyspark/jars)"
    version = f"ls {jars} | grep -oP '^{jar}-\\K[0-9].*(?=\\.jar)'" if jar else "java --version"
    return Row(name, version, "java", f"java -cp \"{jars}/*\" $HERE/Read.java {reader} $F", forms, False)


def node(name, reader, forms, version="node --version"):
    return Row(name, version, "node", f"node $HERE/read.mjs {reader} $F", forms, False)


def go(name, reader, forms, module=None):
    run = "$READERS/go/read"
    version = f"grep -oP '{module} v\\K.*' $HERE/go/go.mod" if module else "go version"
    return Row(name, version, run, f"{run} {reader} $F", forms, False)


PERL = "perl -MIO::Uncompress::Gunzip=gunzip,\\$GunzipError -e 'gunzip shift, \"-\"{} or die $GunzipError' $F"

TABLE = [
    program("`zcat`", "zcat $F", GZIP, needs="gzip"),
    program("`zstdcat`", "zstdcat $F", (*ZSTD, *GZIP), needs="zstd"),
    python("Python `gzip.open`", "gzip_open", GZIP),
    python("Python `zlib.decompressobj(31)`, once", "zlib_once", GZIP),
    python("Python `zlib.decompressobj(31)`, again with `unused_data` while there is any", "zlib_again", GZIP),
    python("isal `igzip.open`", "isal", GZIP, "isal"),
    python("zstandard `stream_reader(f)`", "zstandard_reader", ZSTD, "zstandard"),
    python("zstandard `stream_reader(f, read_across_frames=True)`", "zstandard_across", ZSTD, "zstandard"),
    python("zstandard `decompress(data)`", "zstandard_decompress", ZSTD, "zstandard"),
    python("zstandard `open`", "zstandard_open", ZSTD, "zstandard"),
    python("zstandard `copy_stream`", "zstandard_copy", ZSTD, "zstandard"),
    python("python-snappy `stream_decompress`", "snappy", SNAPPY, "python-snappy"),
    python("cramjam", "cramjam", (*GZIP, *ZSTD, *SNAPPY), "cramjam"),
    python("pyarrow `input_stream`", "arrow_stream", (*GZIP, *ZSTD), "pyarrow"),
    python("pyarrow `json.read_json`, `parquet.read_table`", "arrow", EVERYTHING, "pyarrow", rows=True),
    python("pandas `read_json(lines=True)`, `read_parquet`", "pandas", EVERYTHING, "pandas", rows=True),
    python("polars `scan_ndjson`, `scan_parquet`", "polars", EVERYTHING, "polars", rows=True),
    python("daft `read_json`, `read_parquet`", "daft", EVERYTHING, "daft", rows=True),
    python("DuckDB 1.1 `read_json`", "duckdb", EVERYTHING, "duckdb", "duckdb-1.1", rows=True),
    python("DuckDB 2 `read_json`", "duckdb", EVERYTHING, "duckdb", rows=True),
    python("DataFusion `register_json`, `register_parquet`", "datafusion", EVERYTHING, "datafusion", rows=True),
    python("ClickHouse (chDB) `file()`", "chdb", EVERYTHING, "chdb-core", "chdb", rows=True),
    python("Spark `read.json`, `read.parquet`", "spark", EVERYTHING, "pyspark", "spark", rows=True),
    java("Java `GZIPInputStream`", "java.util.zip.GZIPInputStream", GZIP),
    java("zstd-jni `ZstdInputStream`", "com.github.luben.zstd.ZstdInputStream", ZSTD, "zstd-jni"),
    java("snappy-java `SnappyFramedInputStream`", "org.xerial.snappy.SnappyFramedInputStream", SNAPPY, "snappy-java"),
    node("Node `zlib.gunzipSync`", "gunzipSync", GZIP),
    node("Node `zlib.createGunzip`", "createGunzip", GZIP),
    node("Node `DecompressionStream`", "DecompressionStream", GZIP),
    node("npm fzstd `decompress`", "fzstd", ZSTD, "node -p 'require(`${process.env.READERS}/node/node_modules/fzstd/package.json`).version'"),
    go("Go `compress/gzip`", "gzip", GZIP),
    go("Go `compress/gzip` with `Multistream(false)`", "gzip-single", GZIP),
    go("klauspost/compress `gzip`", "klauspost-gzip", GZIP, "klauspost/compress"),
    go("klauspost/compress `zstd`", "klauspost-zstd", ZSTD, "klauspost/compress"),
    go("golang/snappy", "snappy", SNAPPY, "golang/snappy"),
    program("Perl `gunzip`", PERL.format(""), GZIP, "perl -MIO::Uncompress::Gunzip -e 'print $IO::Uncompress::Gunzip::VERSION'"),
    program("Perl `gunzip` with `MultiStream => 1`", PERL.format(", MultiStream => 1"), GZIP, "perl -MIO::Uncompress::Gunzip -e 'print $IO::Uncompress::Gunzip::VERSION'"),
]  # fmt: skip
