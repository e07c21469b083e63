#!/usr/bin/env python3
"""Sends debits to a Tokenweir server over gRPC; see the README beside this file."""

import argparse
import collections
import itertools
import json
import os
import pathlib
import queue
import random
import sys
import time

import grpc

PROTO = "tokenweir/v1/metering.proto"
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "proto"))
messages, services = grpc.protos_and_services(PROTO)

BATCH_EVENTS = 512
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 5.0
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]
# How a call ends when the same may succeed later.
LATER = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
# What becomes of a row that is to be sent again, under the same id.
SEND_AGAIN = {
    messages.OUTCOME_BUSY,
    messages.OUTCOME_IN_TRANSFER,
    messages.OUTCOME_POISONED,
    messages.OUTCOME_REBUILDING,
    messages.OUTCOME_CLOSING,
}

Event = collections.namedtuple("Event", "camera epoch seq tokens")


class Later(Exception):
    """The server asks to come back later."""


class Gateway:
    """Events in, acknowledgements counted; what is not acknowledged is held, and bounded by the credit."""

    def __init__(self, channel, key, organization, events):
        self.service = services.MeteringStub(channel)
        self.metadata = [("authorization", f"Bearer {key}")]
        self.organization = organization
        self.events = events
        self.again = collections.deque()  # Events to be sent before new ones.
        self.flight = collections.deque()  # Batches on their way: their number and their events, in order.
        self.outcomes = collections.Counter()
        self.reconnects = 0

    def run(self):
        """Sends everything, over as many connections as it takes."""
        pause = PAUSE_MIN_S
        while True:
            session = Session(self)
            try:
                return session.run()
            except (grpc.RpcError, Later) as error:
                if isinstance(error, grpc.RpcError) and error.code() not in LATER:
                    sys.exit(f"refused: {error.details()}; what was not acknowledged is to be given again")
                what = error.details() if isinstance(error, grpc.RpcError) else error
            finally:
                session.close()
            self.hold_unacknowledged()
            self.reconnects += 1
            pause = PAUSE_MIN_S if session.is_connected else min(2 * pause, PAUSE_MAX_S)
            print(f"not connected ({what}); everything is held and sent again", file=sys.stderr, flush=True)
            time.sleep(pause * random.uniform(0.5, 1.0))

    def hold_unacknowledged(self):
        """What was on its way goes first on the next connection, in its old order."""
        held = [event for _, events in self.flight for event in events]
        self.flight.clear()
        self.again.extendleft(reversed(held))

    def take(self, most):
        """The next events to be sent: those that were sent before come first."""
        events = [self.again.popleft() for _ in range(min(most, len(self.again)))]
        return events + list(itertools.islice(self.events, most - len(events)))

    def summary(self):
        """What is left in the pool."""
        request = messages.SummaryRequest(organization=self.organization)
        return self.service.Summary(request, metadata=self.metadata, timeout=30)


class Session:
    """One stream: its handles, its credit, its numbers of batches."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.requests = queue.SimpleQueue()
        self.call = gateway.service.Stream(iter(self.requests.get, None), metadata=gateway.metadata)
        self.is_connected = False
        self.credit = self.granted = self.number = 0
        self.organization, self.cameras = None, {}

    def run(self):
        self.await_reply("credit")
        while True:
            while self.credit >= min(BATCH_EVENTS, self.granted):
                events = self.gateway.take(min(BATCH_EVENTS, self.granted))
                if not events:
                    break
                # From here on they are held: whatever happens, they are sent again.
                self.number += 1
                self.gateway.flight.append((self.number, events))
                self.send(self.number, events)
            if not self.gateway.flight:
                return
            self.await_reply("ack")

    def close(self):
        self.requests.put(None)
        self.call.cancel()

    def send(self, number, events):
        self.open(dict.fromkeys(event.camera for event in events))
        seqs = [event.seq for event in events]
        batch = messages.DebitBatch(
            organization=self.organization,
            batch=number,
            camera=[self.cameras[event.camera] for event in events],
            epoch=[event.epoch for event in events],
            seq_delta=[seq - before for before, seq in itertools.pairwise([0, *seqs])],
            tokens=[event.tokens for event in events],
        )
        self.credit -= len(events)
        self.requests.put(messages.StreamRequest(debit_batch=batch))

    def open(self, cameras):
        """Asks for the handles of cameras that this stream has not met yet."""
        new = [camera for camera in cameras if camera not in self.cameras]
        if self.organization is not None and not new:
            return
        asked = messages.OpenOrganization(organization=self.gateway.organization, cameras=new)
        self.requests.put(messages.StreamRequest(open=messages.Open(organizations=[asked])))
        opened = self.await_reply("opened").organizations[0]
        if opened.HasField("problem"):
            problem = opened.problem
            raise Later(problem.code) if problem.retryable else SystemExit(f"{problem.code}: {problem.detail}")
        self.organization = opened.organization
        self.cameras.update(zip(new, opened.cameras))

    def await_reply(self, kind):
        """Takes what the server says up to the first reply of this kind."""
        for reply in self.call:
            found = reply.WhichOneof("reply")
            message = getattr(reply, found)
            if found == "credit":
                if not self.is_connected:
                    print("connected", file=sys.stderr, flush=True)
                self.is_connected = True
                self.credit += message.debits
                self.granted += message.debits
            elif found == "ack":
                self.acknowledge(message)
            elif found == "problem" and message.retryable:
                raise Later(message.code)
            if found == kind:
                return message
        raise Later("the server ended the stream")

    def acknowledge(self, ack):
        exceptions = {listed.batch: listed for listed in ack.exceptions}
        again = []
        while self.gateway.flight and self.gateway.flight[0][0] <= ack.last_batch:
            number, events = self.gateway.flight.popleft()
            self.credit += len(events)
            for event, outcome in zip(events, outcomes_of(len(events), exceptions.get(number))):
                if outcome in SEND_AGAIN:
                    again.append(event)
                else:
                    self.gateway.outcomes[outcome] += 1
        if again:
            self.gateway.again.extend(again)
            time.sleep(PAUSE_MIN_S)


def outcomes_of(rows, exceptions):
    """What became of each row of a batch; rows that are not listed were charged."""
    if exceptions is None:
        return [messages.OUTCOME_CHARGED] * rows
    if exceptions.every_row != messages.OUTCOME_UNSPECIFIED:
        return [exceptions.every_row] * rows
    outcomes = [messages.OUTCOME_CHARGED] * rows
    for row, outcome in zip(exceptions.row, exceptions.outcome):
        outcomes[row] = outcome
    return outcomes


def read_events(lines):
    for line in lines:
        camera, epoch, seq, tokens = line.split()
        yield Event(camera, int(epoch), int(seq), int(tokens))


def channel_to(server, ca):
    if ca is None:
        return grpc.insecure_channel(server, options=CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates=pathlib.Path(ca).read_bytes())
    return grpc.secure_channel(server, credentials, options=CHANNEL_OPTIONS)


def report(gateway):
    """What became of the events, by the codes of the API."""
    prefix = len("OUTCOME_")
    counted = collections.Counter()
    for outcome, count in gateway.outcomes.items():
        name = messages.Outcome.Name(outcome)[prefix:].lower()
        counted["duplicate" if name.startswith("duplicate") else name] += count
    events = sum(counted.values())
    counts = {name: counted.pop(name, 0) for name in ("charged", "exempt", "duplicate")}
    available = gateway.summary().available
    return {"events": events, **counts, **counted, "reconnects": gateway.reconnects, "available": available}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("organization")
    parser.add_argument("--server", default="127.0.0.1:8081", help="address of gRPC (default: %(default)s)")
    parser.add_argument("--ca", help="PEM file of what signed the server's certificate; TLS is used then")
    arguments = parser.parse_args()
    key = os.environ.get("WEIR_KEY") or parser.error("the API key is missing; set WEIR_KEY")
    with channel_to(arguments.server, arguments.ca) as channel:
        gateway = Gateway(channel, key, arguments.organization, read_events(sys.stdin))
        gateway.run()
        print(json.dumps(report(gateway)))


if __name__ == "__main__":
    main()
