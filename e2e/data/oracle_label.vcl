// The VCL behind the label to which `e2e/data/oracle.vcl` hands /label/.
vcl 4.1;

import s3log;
import std;

backend default {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}

sub vcl_init {
    @STREAMS@
}

sub vcl_recv {
    std.log("key: of the label");
    set req.http.X-Set = "by the label";
}

sub vcl_deliver {
    plain.log();
    whole.log();
    if (req.http.X-Where ~ "label") {
        calls.set("key", "set in label");
        calls.log();
    }
}

sub vcl_synth {
    plain.log();
    whole.log();
}

sub vcl_backend_fetch {
    fetches.log();
}

sub vcl_backend_response {
    if (beresp.http.X-Esi) {
        set beresp.do_esi = true;
    }
}
