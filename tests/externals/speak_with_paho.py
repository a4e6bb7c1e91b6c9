"""Paho's client against a node: speak_with_paho.py HOST PORT USER PASSWORD 3.1.1|5.0. Prints what it saw as JSON."""

import json
import queue
import sys

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, USER, PASSWORD, LEVEL = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
FIVE = LEVEL == "5.0"
DEVICE = "paho-5" if FIVE else "paho-3"
BOUND = 60  # seconds


class Peer:
    """A connected client, and what it heard."""

    def __init__(self, name, lasting=False, will=None, password=PASSWORD):
        protocol = paho.MQTTv5 if FIVE else paho.MQTTv311
        clean = {} if FIVE else {"clean_session": not lasting}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, **clean)
        self.client.username_pw_set(USER, password)
        if will:
            self.client.will_set(*will, qos=1)
        self.connected, self.granted, self.heard = queue.Queue(), queue.Queue(), queue.Queue()
        self.client.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put((flags, reason))
        self.client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.granted.put(reasons)
        self.client.on_message = lambda _c, _u, message: self.heard.put(message)
        options = {}
        if FIVE:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if lasting else 0
            options = {"clean_start": not lasting, "properties": properties}
        self.client.connect(HOST, PORT, keepalive=60, **options)
        self.client.loop_start()
        self.flags, self.reason = self.connected.get(timeout=BOUND)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        return [reason.value for reason in self.granted.get(timeout=BOUND)]

    def publish(self, topic, payload, qos, retain=False):
        published = self.client.publish(topic, payload, qos=qos, retain=retain)
        published.wait_for_publish(BOUND)
        assert published.is_published(), f"QoS {qos} to {topic} was not answered"

    def hear(self):
        message = self.heard.get(timeout=BOUND)
        return {"topic": message.topic, "payload": message.payload.decode(), "qos": message.qos, "retain": message.retain}

    def goodbye(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        """Goes without a word."""
        self.client.loop_stop()
        self.client.socket().close()


def telemetry(value):
    return json.dumps({"device_id": DEVICE, "metrics": [{"name": "n", "value": value}]})


saw = {}
stranger = Peer("stranger", password="wrong")
saw["wrong password"] = str(stranger.reason)
stranger.client.loop_stop()

writer, reader = Peer("writer"), Peer("reader")
saw["granted"] = reader.subscribe(f"devices/{DEVICE}/telemetry", 2)
saw["heard"] = []
for qos in (0, 1, 2):
    writer.publish(f"devices/{DEVICE}/telemetry", telemetry(qos), qos)
    heard = reader.hear()
    saw["heard"].append([heard["qos"], json.loads(heard["payload"])["metrics"][0]["value"]])

writer.publish(f"devices/{DEVICE}/config", "{}", 1, retain=True)
late = Peer("late")
late.subscribe(f"devices/{DEVICE}/#", 1)
saw["retained"] = late.hear()

mortal = Peer("mortal", will=(f"devices/{DEVICE}/status", "offline"))
mortal.vanish()
saw["will"] = late.hear()

lasting = Peer("gateway", lasting=True)
saw["session at first"] = bool(lasting.flags.session_present)
lasting.subscribe(f"devices/{DEVICE}/commands", 1)
lasting.goodbye()
writer.publish(f"devices/{DEVICE}/commands", "go", 1)
lasting = Peer("gateway", lasting=True)
saw["session later"] = bool(lasting.flags.session_present)
saw["waited"] = lasting.hear()

for peer in (writer, reader, late, lasting):
    peer.goodbye()
print(json.dumps(saw))
