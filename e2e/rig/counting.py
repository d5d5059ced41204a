"""A proxy before the S3 server that counts what is read through it.

Requests and answers pass as they are, so that signatures hold: the clients sign the proxy's address, which is
the Host that the server sees.
"""

import collections
import http.client
import http.server
import threading
import urllib.parse

PIECE = 1 << 18
HOP = {"connection", "keep-alive", "transfer-encoding"}


class Counting:
    def __init__(self, host, port):
        self.server = (host, port)
        self.lock = threading.Lock()
        self.reset()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            do_GET = do_HEAD = lambda handler: outer.relay(handler)

            def log_message(self, *_):
                pass

        self.proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.proxy.daemon_threads = True
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.proxy.server_port}"

    def reset(self):
        with self.lock:
            self.requests, self.bytes, self.objects = collections.Counter(), 0, set()

    def counts(self):
        """Objects that were read, the bytes of that, and all requests."""
        with self.lock:
            return len(self.objects), self.bytes, sum(self.requests.values())

    def relay(self, handler):
        path = urllib.parse.urlsplit(handler.path)
        # Of an object: what lists a bucket has no key.
        is_object = handler.command == "GET" and path.path.strip("/").count("/") > 0
        with self.lock:
            self.requests[handler.command] += 1
            if is_object:
                self.objects.add(path.path)
        upstream = http.client.HTTPConnection(*self.server, timeout=60)
        try:
            upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in HOP:
                    upstream.putheader(name, value)
            upstream.endheaders()
            answer = upstream.getresponse()
            self.pass_on(handler, answer, is_object)
        except OSError:
            handler.close_connection = True
        finally:
            upstream.close()

    def pass_on(self, handler, answer, is_object):
        handler.send_response_only(answer.status, answer.reason)
        length = answer.getheader("Content-Length")
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                handler.send_header(name, value)
        body = b""
        if length is None and handler.command != "HEAD":
            body = answer.read()
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        while body or handler.command != "HEAD":
            piece = body or answer.read(PIECE)
            body = b""
            if not piece:
                break
            if is_object:
                with self.lock:
                    self.bytes += len(piece)
            handler.wfile.write(piece)
            if length is None:
                break

    def close(self):
        self.proxy.shutdown()
        self.proxy.server_close()
