// What `e2e/oracle.py` sends its requests through: each kind has its path here.
vcl 4.1;

import s3log;
import std;
import vtc;

backend default {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
    .first_byte_timeout = 10s;
}

backend dead {
    .host = "127.0.0.1";
    .port = "@DEAD@";
}

sub vcl_init {
    @STREAMS@
}

sub client_log {
    plain.log();
    whole.log();
}

// Requests whose end VCL does not see, or fails in.
sub ends_recv {
    if (req.url ~ "^/ends/workspace-before") {
        vtc.workspace_overflow(client);
    }
    call client_log;
    if (req.url ~ "^/ends/workspace-after") {
        vtc.workspace_overflow(client);
    }
    if (req.url ~ "^/ends/label-esi") {
        return (vcl(other));
    }
    if (req.url ~ "^/ends/rollback") {
        std.rollback(req);
        return (pass);
    }
    if (req.url ~ "^/ends/fail-recv" && req.restarts == 0) {
        return (fail("told so"));
    }
    if (req.url ~ "^/ends/(fail-pipe|upgrade)") {
        return (pipe);
    }
    if (req.url ~ "^/ends/fail-purge") {
        return (purge);
    }
    if (req.url ~ "^/ends/(fail-synth|workspace-synth)") {
        return (synth(418));
    }
    if (req.url ~ "^/ends/fail-error") {
        set req.backend_hint = dead;
    }
    if (req.url ~ "^/ends/fail-(hash|miss|hit)") {
        return (hash);
    }
    return (pass);
}

sub vcl_recv {
    if (req.url ~ "^/label/") {
        return (vcl(other));
    }
    if (req.url ~ "^/ends/") {
        call ends_recv;
    }
    std.log("key: " + req.http.X-Id);
    std.log("again: first");
    std.log("again:second");
    set req.http.X-Set = "by recv";
    unset req.http.X-Gone;
    if (req.http.X-Log == "recv") {
        call client_log;
    }
    calls.set("key", "set in recv");
    calls.set("key", "set again in recv");
    if (req.http.X-Where ~ "recv") {
        calls.log();
    }
    if (req.url ~ "^/overflow") {
        std.log("filler 1 " + req.http.X-Filler);
        call fill; call fill; call fill; call fill; call fill; call fill;
        call fill; call fill; call fill; call fill; call fill; call fill;
    }
    if (req.url ~ "^/(hit|head|cond|range|gzip|esi|fragment|slow|busy|odd|h2|abort|empty|rich|overflow|notfound|304)") {
        return (hash);
    }
    if (req.url ~ "^/pipe-dead") {
        set req.backend_hint = dead;
    }
    if (req.url ~ "^/pipe") {
        return (pipe);
    }
    if (req.url ~ "^/synth") {
        return (synth(418, "Short and stout"));
    }
    if (req.url ~ "^/redirect") {
        return (synth(301));
    }
    if (req.url ~ "^/purge") {
        return (purge);
    }
    if (req.url ~ "^/fail-recv") {
        return (fail("told so"));
    }
    if (req.url ~ "^/dead") {
        set req.backend_hint = dead;
        return (pass);
    }
    if (req.url ~ "^/rewritten") {
        set req.http.X-Long = req.url + req.http.X-Filler + "/end";
        set req.url = "/pass/" + req.http.X-Filler + req.http.X-Filler + "?rewritten";
        set req.method = "POST";
        set req.http.X-Forwarded-For = "somebody else";
        return (pass);
    }
    if (req.url ~ "^/too-many-restarts") {
        return (restart);
    }
    if (req.url ~ "^/long-restart" && req.restarts == 0) {
        set req.url = req.url + "/" + req.http.X-Filler + req.http.X-Filler;
        set req.http.X-Long = "made long: " + req.http.X-Filler + req.http.X-Filler;
        return (restart);
    }
    if (req.url ~ "^/restart" && req.restarts == 0) {
        set req.http.X-Restarted = "yes";
        set req.url = req.url + "&restarted=1";
        return (restart);
    }
    if (req.url ~ "^/(pass|post|put|early|reset)") {
        return (pass);
    }
    // What is left goes through Varnish's own vcl_recv.
}

sub fill {
    std.log("filler 2 " + req.http.X-Filler);
    std.log("filler 3 " + req.http.X-Filler);
    std.log("filler 4 " + req.http.X-Filler);
    std.log("filler 5 " + req.http.X-Filler);
    std.log("filler 6 " + req.http.X-Filler);
    std.log("filler 7 " + req.http.X-Filler);
    std.log("filler 8 " + req.http.X-Filler);
}

sub fill_fetch {
    std.log("filler 2 " + bereq.http.X-Filler);
    std.log("filler 3 " + bereq.http.X-Filler);
    std.log("filler 4 " + bereq.http.X-Filler);
    std.log("filler 5 " + bereq.http.X-Filler);
    std.log("filler 6 " + bereq.http.X-Filler);
    std.log("filler 7 " + bereq.http.X-Filler);
    std.log("filler 8 " + bereq.http.X-Filler);
    std.log("filler 9 " + bereq.http.X-Filler);
}

sub vcl_pipe {
    if (req.url ~ "^/ends/fail-pipe") {
        return (fail("told so"));
    }
    if (req.http.Upgrade) {
        set bereq.http.Upgrade = req.http.Upgrade;
        set bereq.http.Connection = req.http.Connection;
        return (pipe);
    }
    if (req.http.X-Log != "recv") {
        call client_log;
    }
    set bereq.http.Connection = "close";
    if (req.http.X-Where ~ "pipe") {
        calls.log();
    }
}

sub vcl_hash {
    if (req.url ~ "^/ends/fail-hash") {
        return (fail("told so"));
    }
    if (req.http.X-Where ~ "hash") {
        calls.log();
    }
}

sub vcl_hit {
    if (req.url ~ "^/ends/fail-hit") {
        return (fail("told so"));
    }
    if (req.http.X-Where ~ "hit") {
        calls.log();
    }
    if (req.url ~ "^/hit-restart" && req.restarts == 0) {
        return (restart);
    }
}

sub vcl_miss {
    if (req.url ~ "^/ends/fail-miss") {
        return (fail("told so"));
    }
    if (req.http.X-Where ~ "miss") {
        calls.log();
    }
}

sub vcl_pass {
    if (req.url ~ "^/ends/fail-pass") {
        return (fail("told so"));
    }
    if (req.http.X-Where ~ "pass") {
        calls.log();
    }
}

sub vcl_purge {
    if (req.url ~ "^/ends/fail-purge") {
        return (fail("told so"));
    }
    if (req.http.X-Where ~ "purge") {
        calls.log();
    }
}

sub vcl_deliver {
    if (req.url ~ "^/ends/workspace-deliver") {
        vtc.workspace_overflow(client);
    }
    if (req.url ~ "^/ends/fail-deliver") {
        return (fail("told so"));
    }
    set resp.http.X-Cache = "hits " + obj.hits;
    unset resp.http.X-Remove;
    if (req.url ~ "^/teapot") {
        set resp.status = 718;
        set resp.reason = {"A "reason""};
        set resp.http.Content-Type = "first";
        set resp.http.Content-Type = "second";
    }
    if (req.url ~ "^/deliver-restart" && req.restarts < 2) {
        return (restart);
    }
    if (req.url ~ "^/deliver-synth") {
        return (synth(599, "From deliver"));
    }
    if (req.http.X-Log != "recv") {
        call client_log;
    }
    calls.set("key", "set in deliver");
    if (req.http.X-Where ~ "deliver") {
        calls.log();
    }
    set resp.http.X-After = "set after log";
}

sub vcl_synth {
    if (req.url ~ "^/ends/workspace-synth") {
        vtc.workspace_overflow(client);
    }
    if (req.url ~ "^/ends/.*fail-synth") {
        return (fail("told so"));
    }
    if (req.url ~ "^/ends/.*restart" && req.restarts == 0) {
        return (restart);
    }
    if (req.http.X-Log != "recv") {
        call client_log;
    }
    if (req.http.X-Where ~ "synth") {
        calls.log();
    }
    set resp.http.X-Twice = "from synth";
    if (resp.status == 301) {
        set resp.http.Location = "/elsewhere?id=" + req.http.X-Id;
        return (deliver);
    }
    synthetic("synthetic " + resp.reason);
    return (deliver);
}

sub vcl_backend_fetch {
    fetches.log();
    if (bereq.url ~ "^/ends/fail-fetch") {
        return (fail("told so"));
    }
    if (bereq.url ~ "^/abandon") {
        return (abandon);
    }
    set bereq.http.X-Fetch = "set in fetch";
    if (bereq.url ~ "^/pass/overflow") {
        set bereq.http.X-Twice = "set before the log is full";
        call fill_fetch; call fill_fetch; call fill_fetch; call fill_fetch; call fill_fetch;
        call fill_fetch; call fill_fetch; call fill_fetch; call fill_fetch; call fill_fetch;
    }
    if (bereq.http.X-Where ~ "fetch") {
        calls.log();
    }
}

sub vcl_backend_response {
    if (bereq.url ~ "^/ends/fail-response") {
        return (fail("told so"));
    }
    fetches.log();
    std.log("key: in backend_response");
    if (bereq.http.X-Where ~ "response") {
        calls.log();
    }
    set beresp.http.X-Long-O = bereq.http.X-Long-O;
    if (bereq.url ~ "^/hfm") {
        set beresp.uncacheable = true;
        set beresp.ttl = 600s;
        return (deliver);
    }
    if (bereq.url ~ "^/hfp") {
        return (pass(600s));
    }
    if (bereq.url ~ "^/retry" && bereq.retries < 2) {
        return (retry);
    }
    if (bereq.url ~ "^/gunzip") {
        set beresp.do_gunzip = true;
    }
    if (bereq.url ~ "^/gzipper") {
        set beresp.do_gzip = true;
    }
    if (bereq.url ~ "^/esi" || beresp.http.X-Esi) {
        set beresp.do_esi = true;
    }
    if (bereq.url ~ "^/304") {
        set beresp.ttl = 0.1s;
        set beresp.grace = 0s;
        set beresp.keep = 600s;
        return (deliver);
    }
    if (bereq.url ~ "^/hit-grace") {
        set beresp.ttl = 0.1s;
        set beresp.grace = 600s;
        return (deliver);
    }
    if (bereq.url ~ "^/fail-response") {
        return (fail("told so"));
    }
}

sub vcl_backend_error {
    if (bereq.url ~ "^/ends/fail-error") {
        return (fail("told so"));
    }
    fetches.log();
    if (bereq.http.X-Where ~ "error") {
        calls.log();
    }
    if (bereq.url ~ "^/early-retry" && bereq.retries == 0) {
        return (retry);
    }
    set beresp.http.Content-Type = "text/plain";
    synthetic("no origin");
    return (deliver);
}
