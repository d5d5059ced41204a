"""Checks the blocks of a stream from docs/chain.md alone: contents, links, signatures.

Nothing of the module or of its command is used: boto3 reads the bucket, hashlib hashes, and the
program minisign checks signatures. It finds that something is wrong and where; `s3log verify`
says more about what happened.

    examples/chain.py --endpoint URL --bucket NAME [--prefix TEXT] [--public-key FILE] STREAM

Credentials come from where boto3 takes them. Exit code 1 when something is wrong.
"""

import argparse
import concurrent.futures
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

STATED = (
    "format stream host boot number records raw-bytes bytes first last dropped cut codec sha256 previous route"
).split()
NAME = re.compile(r"-(?P<boot>[0-9a-f]{12})-(?P<number>\d{10,})\.log[.a-z]*$")


def statement(meta):
    return "".join(f"{name}={meta[name]}\n" for name in STATED if name in meta)


def comment(meta):
    return f"s3log {meta['stream']} {meta['host']} {meta['boot']} {meta['number']}"


def signature_holds(meta, public_key):
    """Whether minisign takes the signature for one of the metadata."""
    with tempfile.TemporaryDirectory() as folder:
        text, signature = pathlib.Path(folder, "statement"), pathlib.Path(folder, "minisig")
        text.write_text(statement(meta))
        signature.write_text(
            f"untrusted comment: s3log\n{meta.get('signature')}\n"
            f"trusted comment: {comment(meta)}\n{meta.get('global-signature')}\n"
        )
        command = ["minisign", "-Vqm", text, "-x", signature, "-p", public_key]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def read(client, bucket, prefix, stream):
    """Each block's key, metadata and the SHA-256 and length of its bytes."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def get(key):
        got = client.get_object(Bucket=bucket, Key=key)
        body = got["Body"].read()
        return key, got["Metadata"], hashlib.sha256(body).hexdigest(), len(body)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        blocks = pool.map(get, [key for key in keys if NAME.search(key)])
        return [block for block in blocks if block[1].get("stream") == stream]


def check(blocks, public_key=None):
    """Sentences about what is wrong, and how many blocks and hosts there are."""
    wrong, chains = [], {}
    for key, meta, digest, length in blocks:
        told = NAME.search(key)
        if (told["boot"], int(told["number"])) != (meta["boot"], int(meta["number"])):
            wrong.append(f"{key}: its name is another block's")
        if (digest, length) != (meta["sha256"], int(meta["bytes"])):
            wrong.append(f"{key}: its content is not what was sealed")
        if public_key and not signature_holds(meta, public_key):
            wrong.append(f"{key}: its signature does not hold")
        chains.setdefault(meta["host"], []).append((int(meta["number"]), key, meta))
    for host, chain in chains.items():
        # Each route has a chain of its own; the links tell them apart, also where blocks of an older
        # release name no route.
        ends = {(number, meta["sha256"]) for number, _, meta in chain} | {(0, None)}
        for number, key, meta in sorted(chain, key=lambda block: block[0]):
            link = number - 1, meta.get("previous")
            if link not in ends:
                wrong.append(f"{key}: it does not follow the block before it on {host}")
            elif number > 1:
                ends.remove(link)
    return wrong, len(blocks), len(chains)


def main():
    import boto3

    arguments = argparse.ArgumentParser()
    for name in ("endpoint", "bucket", "prefix", "public-key"):
        arguments.add_argument(f"--{name}", default="" if name == "prefix" else None)
    arguments.add_argument("stream")
    options = arguments.parse_args()
    client = boto3.client("s3", endpoint_url=options.endpoint)
    blocks = read(client, options.bucket, options.prefix, options.stream)
    wrong, count, hosts = check(blocks, options.public_key)
    for sentence in wrong:
        print(sentence)
    print(f"{count} blocks of {hosts} hosts, {len(wrong)} wrong")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
