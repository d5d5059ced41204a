"""A VCL for tests: one stream, a page that is always a hit, a synthetic answer."""

from e2e import rig

TEXT = """vcl 4.1;
import s3log;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{
    new access = s3log.stream(
        endpoint = "{endpoint}", bucket = "{bucket}", credentials = "{credentials}",
        spool = "{spool}", format = {{"{format}"}},
        {arguments});
}}
sub vcl_recv {{
    if (req.url ~ "^/s/") {{ return (synth(200)); }}
    return (hash);
}}
sub vcl_hash {{
    # One object for every id.
    hash_data(regsub(req.url, "^(/[a-z]+/).*", "\\1"));
    return (lookup);
}}
sub vcl_backend_response {{ set beresp.ttl = 1d; set beresp.grace = 1d; }}
sub vcl_deliver {{ access.log(); }}
sub vcl_synth {{ access.log(); set resp.body = "ok"; return (deliver); }}
"""

# What a README would show, with the module's own spool: for trees that it is installed in.
LEAST = """vcl 4.1;
import s3log;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{
    new access = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
        credentials = "{credentials}", format = "%m %U %>s", period = {period});
}}
sub vcl_deliver {{ access.log(); }}
"""


def least(place, endpoint, credentials, period):
    """The text of a VCL that logs to `endpoint`, with the path of the credentials in its tree."""
    return LEAST.format(
        origin=place.origin.port,
        endpoint=endpoint,
        bucket=rig.BUCKET,
        credentials=credentials,
        period=period,
    )


def write(place, name, spool=None, format="%U %>s", **arguments):
    """Writes NAME.vcl into the rig's directory; its path. Values are VCL literals as they are."""
    text = TEXT.format(
        origin=place.origin.port,
        endpoint=place.s3.endpoint,
        bucket=rig.BUCKET,
        credentials=place.s3.credentials,
        spool=spool or place.spool,
        format=format,
        arguments=", ".join(f"{key} = {value}" for key, value in arguments.items()),
    )
    path = place.directory / f"{name}.vcl"
    path.write_text(text)
    return path
