# The fields of Fastly's recommended JSON format. Include it and set endpoint, bucket and
# credentials.

import s3log;

sub vcl_init {
    new access = s3log.stream(
        endpoint = "https://gateway.storjshare.io",
        bucket = "edge-logs",
        path = "fastly-json/%Y/%m/%d/",
        credentials = "/etc/varnish/s3log.credentials",
        format = {"{
            "timestamp":"%{%Y-%m-%dT%H:%M:%S%z}t",
            "client_ip":"%a",
            "host":"%v",
            "url":"%U%q",
            "request_method":"%m",
            "request_protocol":"%H",
            "request_referer":"%{Referer}i",
            "request_user_agent":"%{User-Agent}i",
            "response_state":"%{Varnish:handling}x",
            "response_status":%>s,
            "response_reason":%{s3log:reason}x,
            "response_body_size":%B,
            "server":%{server}x
        }"});
}

sub vcl_recv {
    access.set("server", server.identity);
    access.log();
}
