"""What sites without a node put between their broker and their database: MQTT in, line protocol out, in batches.

bridge.py BROKER_PORT INFLUXDB_PORT. It says "ready" when it is subscribed, ends with SIGTERM and then says how many messages
it wrote.
"""

import datetime
import http.client
import queue
import signal
import sys
import time

import orjson
import paho.mqtt.client as mqtt

BATCH = 5000
FLUSH_S = 0.25

broker_port, influxdb_port = int(sys.argv[1]), int(sys.argv[2])
messages, running, written = queue.SimpleQueue(), True, 0


def line(payload):
    message = orjson.loads(payload)
    fields = ",".join(f"{metric['name']}={metric['value']}" for metric in message["metrics"])
    at = datetime.datetime.fromisoformat(message["timestamp"])
    return f"telemetry,device={message['device_id']} {fields} {round(at.timestamp() * 1000)}"


def gather():
    """Messages until there are enough, or for long enough."""
    batch, until = [], time.monotonic() + FLUSH_S
    while len(batch) < BATCH and (left := until - time.monotonic()) > 0:
        try:
            batch.append(messages.get(timeout=left))
        except queue.Empty:
            break
    return batch


def stop(*_):
    global running
    running = False


def subscribed(*_):
    print("ready", flush=True)


signal.signal(signal.SIGTERM, stop)
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bridge")
client.on_connect = lambda client, *_: client.subscribe("devices/+/telemetry", qos=1)
client.on_subscribe = subscribed
client.on_message = lambda _client, _userdata, message: messages.put(message.payload)
client.connect("127.0.0.1", broker_port)
client.loop_start()
database = http.client.HTTPConnection("127.0.0.1", influxdb_port)
while running or not messages.empty():
    batch = gather()
    if batch:
        database.request("POST", "/write?db=bench&precision=ms", "\n".join(map(line, batch)))
        answer = database.getresponse()
        answer.read()
        if answer.status >= 300:
            sys.exit(f"InfluxDB answered {answer.status}")
        written += len(batch)
client.loop_stop()
print(written, flush=True)
