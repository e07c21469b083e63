"""Sends events by the CloudEvents SDK for Python, in each mode that it has; every answer must be 204."""

import os
from datetime import datetime, timezone
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import CloudEvent as OldEvent
from cloudevents.v1.conversion import to_binary, to_structured

SERVER, KEY = os.environ["WEIR_SERVER"], os.environ["WEIR_KEY"]
# One moment of today, so that a second run sends the same events.
MIDNIGHT = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def post(headers, body):
    headers = dict(headers) | {"Authorization": f"Bearer {KEY}"}
    request = Request(f"{SERVER}/v1/events", data=body, headers=headers, method="POST")
    try:
        with urlopen(request) as answer:
            return answer.status
    except HTTPError as refusal:
        print(refusal.read().decode())
        return refusal.code


def attributes(id, camera):
    return {
        "specversion": "1.0",
        "type": "com.example.analysis",
        "source": "https://nvr.example/lobby",
        "id": id,
        "subject": camera,
        "time": MIDNIGHT,
        "datacontenttype": "application/json",
    }


def send(id, camera, data):
    event = CloudEvent(attributes(id, camera), data)
    for message in (to_structured_event(event), to_binary_event(event)):
        assert post(message.headers, message.body) == 204
    old = OldEvent(attributes(id, camera) | {"time": MIDNIGHT.isoformat()}, data)
    # In headers the older interface escapes nothing.
    modes = (to_structured, to_binary) if id.isascii() else (to_structured,)
    for mode in modes:
        headers, body = mode(old)
        assert post(headers, body) == 204


send("shared-1", "gate", {"tokens": 11, "kind": "contextual_video_analytics", "network": "gate"})
send("shared \u00e9 \u20ac", "yard", {"tokens": 100, "kind": "video_search"})
send("python-1", "gate", {"tokens": 1000, "other": {"deep": [1.5, None]}})

for camera, network, status in [("roof", "gate", 404), ("yard", "garden", 409)]:
    refused = CloudEvent(attributes("refused", camera), {"tokens": 1, "network": network})
    for message in (to_structured_event(refused), to_binary_event(refused)):
        assert post(message.headers, message.body) == status
print("the CloudEvents SDK for Python: sent")
