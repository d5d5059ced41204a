# The state of the stream `access` as JSON under /s3log, for those in the list only:
#
#     sub vcl_init { new access = s3log.stream(...); }
#     include "/etc/varnish/health.vcl";
#     sub vcl_recv { ... }    # and the rest of yours
#
# Behind the vcl_init with the stream, so also behind the file that `s3log init` writes, and before your
# other subroutines: then these run before yours return. The page's fields: docs/operations.md.
#
# client.ip is whoever opened the connection. Behind a TLS proxy on this machine that does not speak
# the PROXY protocol everybody is "localhost": use a listener of its own for this page then.

acl s3log_health {
    "localhost";
    # "192.0.2.0"/24;
}

sub vcl_recv {
    if (req.url == "/s3log") {
        # It is no request of the site's.
        access.nolog();
        if (client.ip !~ s3log_health) {
            return (synth(403));
        }
        if (req.method != "GET" && req.method != "HEAD") {
            return (synth(405));
        }
        return (synth(200, "s3log health"));
    }
}

sub vcl_synth {
    if (resp.status == 200 && resp.reason == "s3log health") {
        set resp.http.Content-Type = "application/json";
        set resp.http.Cache-Control = "no-store";
        set resp.body = access.status();
        return (deliver);
    }
}
