"""Receives webhooks, and verifies them with the library of Standard Webhooks: under each secret that it is given, and not when changed."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def is_verified(webhook, body, headers):
    try:
        return webhook.verify(body, headers)
    except WebhookVerificationError:
        return None


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        secrets = sys.stdin.readline().split()
        verified = [is_verified(Webhook(secret), body, headers) for secret in secrets]
        changed = [is_verified(Webhook(secret), body + " ", headers) for secret in secrets]
        assert all(verified) and not any(changed), (verified, changed)
        self.send_response(204)
        self.end_headers()
        print("verified", verified[0]["type"], len(verified), flush=True)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print("listening", server.server_port, flush=True)
server.serve_forever()
