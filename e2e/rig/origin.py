"""The origin."""

import http.server
import threading


class Origin(http.server.ThreadingHTTPServer):
    """A small origin: / answers by path, POST echoes its length."""

    daemon_threads = True
    request_queue_size = 512

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else an answer's second write waits for the client's delayed acknowledgement.
        disable_nagle_algorithm = True

        def reply(self, status, body, **headers):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/plain")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            path = self.path.split("?", 1)[0]
            if path.startswith("/missing"):
                self.reply(404, b"not here\n", Cache_Control="max-age=60")
            elif path.startswith("/private"):
                self.reply(200, b"yours alone\n", Cache_Control="private")
            else:
                body = f"page {path}\n".encode() * 20
                self.reply(200, body, Cache_Control="max-age=600", ETag='"1"')

        do_HEAD = do_GET

        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            self.reply(201, f"took {length} bytes\n".encode())

        def log_message(self, *args):
            pass

    def handle_error(self, request, client_address):
        """A cache process that dies in the middle of a fetch is no news."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
