vcl 4.1;

import s3log;

backend default {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_init {
    new access = s3log.stream(
        endpoint = "https://gateway.storjshare.io",
        bucket = "edge-logs",
        path = "varnish/%Y/%m/%d/",
        credentials = "/etc/varnish/s3log.credentials",
        format = {"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""},
        period = 10s);
}

sub vcl_recv {
    access.log();
    if (req.url == "/ping") {
        return (synth(204));
    }
}
