# One JSON object a request. Include it and set endpoint, bucket and credentials.

import s3log;

sub vcl_init {
    new access = s3log.stream(
        endpoint = "https://gateway.storjshare.io",
        bucket = "edge-logs",
        path = "json/%Y/%m/%d/",
        credentials = "/etc/varnish/s3log.credentials",
        format = {"{
            "time":"%{%Y-%m-%dT%H:%M:%S}t.%{usec_frac}tZ",
            "vxid":%{Varnish:vxid}x,
            "client":"%a",
            "method":"%m",
            "host":"%v",
            "path":"%U",
            "query":"%q",
            "protocol":"%H",
            "status":%>s,
            "bytes_in":%I,
            "bytes_out":%O,
            "body_bytes":%B,
            "us":%D,
            "first_byte_s":%{Varnish:time_firstbyte}x,
            "handling":"%{Varnish:handling}x",
            "referer":%{Referer}i,
            "user_agent":%{User-Agent}i,
            "content_type":%{Content-Type}o
        }"});
}

sub vcl_recv {
    access.log();
}
