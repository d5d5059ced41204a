# Apache's combined line. Include it and set endpoint, bucket and credentials.

import s3log;

sub vcl_init {
    new access = s3log.stream(
        endpoint = "https://gateway.storjshare.io",
        bucket = "edge-logs",
        path = "combined/%Y/%m/%d/",
        credentials = "/etc/varnish/s3log.credentials",
        format = {"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""});
}

sub vcl_recv {
    access.log();
}
