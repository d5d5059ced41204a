# Logs every request, and serves the health page on the listener `health` only, which no Service publishes.
vcl 4.1;

import s3log;

backend default {
    .host = "origin";
    .port = "8080";
}

sub vcl_init {
    new access = s3log.stream(
        # Plain HTTP to another host is refused otherwise. With a gateway on https:// leave allow_http out.
        endpoint = "http://s3:8333",
        allow_http = true,
        bucket = "edge-logs",
        path = "varnish/%Y/%m/%d/",
        credentials = "/run/secrets/s3log/credentials",
        exit_timeout = 20s,
        period = 10s);
}

sub vcl_recv {
    if (local.socket == "health") {
        return (synth(200, "health"));
    }
    access.log();
}

sub vcl_synth {
    if (local.socket == "health") {
        set resp.http.Content-Type = "application/json";
        set resp.http.Cache-Control = "no-store";
        set resp.body = access.status();
        return (deliver);
    }
}
