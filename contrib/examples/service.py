"""Count words with the help of a service: a small web server that runs beside the jobs that ask it, and ends after them.

python service.py file:my-store
"""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jobsys

TEXT = "the quick brown fox jumps over the lazy dog while the dog dreams of the fox"


class Counter(jobsys.Service):
    """Counts the words that are posted to it."""

    def __init__(self):
        super().__init__(cores=0.1, memory="100M")

    def start(self, context):
        counts = {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                word = self.rfile.read(int(self.headers["Content-Length"])).decode()
                counts[word] = counts.get(word, 0) + 1
                self._answer(b"")

            def do_GET(self):
                self._answer(json.dumps(counts).encode())

            def _answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"  # what clients are promised

    def check(self, context):
        return self.thread.is_alive()  # asked about once a second; False fails the service

    def stop(self, context):
        self.server.shutdown()
        self.server.server_close()


@jobsys.job(cores=0.5, memory="100M")
def count(url, words):
    for word in words:
        urllib.request.urlopen(url, data=word.encode(), timeout=10).close()


@jobsys.job(cores=0.5, memory="100M")
def most_frequent(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        counts = json.load(answer)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]


@jobsys.job(cores=0.1, memory="100M")
def main(words):
    url = jobsys.current().job.add_service(Counter())  # runs beside this job's children
    counted = [count(url, words[i : i + 4]) for i in range(0, len(words), 4)]
    return most_frequent(url, after=counted)  # it needs no value of theirs, but must wait for them


if __name__ == "__main__":
    args = jobsys.argument_parser(description=__doc__).parse_args()
    for word, number in jobsys.run(main(TEXT.split()), args):
        print(f"{number} {word}")
