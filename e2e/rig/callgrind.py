"""What callgrind's files say of the module's threads."""

import re

# By the name of a function that only they have.
THREADS = {"pack": "vmod_s3log::pipeline::packer", "put": "vmod_s3log::pipeline::uploader"}
PARTS = {
    "codec": re.compile(r"ZSTD_|HUF_|FSE_|HIST_|XXH|zlib_rs|deflate_|snap::"),
    "digest": re.compile(r"sha2::|md5::|crc_fast::"),
}
# glibc copies and fills large pieces with one instruction that repeats itself, which callgrind counts as
# often as it does.
ENV = {
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=0x10000000"
    ":glibc.cpu.x86_rep_stosb_threshold=0x10000000"
}


def thread(text):
    """Whose file it is; `None` for a thread that is none of the module's, and for the first, which starts
    them."""
    first = re.search(r"^thread: 1$", text, re.MULTILINE)
    return None if first else next((name for name, own in THREADS.items() if own in text), None)


def parts(text):
    """Instructions in one of callgrind's files, which is one thread's: `{"codec": .., "digest": .., "rest": ..}`.

    What a function of a part calls, such as a copy, is of that part.
    """
    found = dict.fromkeys(PARTS, 0)
    names, here, callee, called = {}, None, None, False

    def part(value):
        number, _, name = value.partition(" ")
        if name:
            names[number] = next((one for one, own in PARTS.items() if own.search(name)), None)
        return names[number]

    for line in text.splitlines():
        if line.startswith("fn="):
            here = part(line[3:])
        elif line.startswith("cfn="):
            callee = part(line[4:])
        elif line.startswith("calls="):
            called = True
        elif called:
            called = False
            if callee and callee != here:
                found[callee] += int(line.split()[1])
    total = int(re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)[1])
    return {**found, "rest": total - sum(found.values())}
