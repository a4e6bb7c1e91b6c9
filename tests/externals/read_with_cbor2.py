"""Listens to a Libre Solar board on an SLCAN adapter and reads its report with PyPI's cbor2; prints one JSON line."""

import io
import json
import sys
import time

import cbor2
import serial

port = serial.Serial(sys.argv[1], timeout=0.2)
port.write(b"C\rS6\rO\r")
report, buffer, whole = None, b"", None
end = time.monotonic() + 10
while whole is None and time.monotonic() < end:
    buffer += port.read(4096)
    *lines, buffer = buffer.split(b"\r")
    for line in lines:
        if not line.startswith(b"T"):
            continue
        number, data = int(line[1:9], 16), bytes.fromhex(line[10:26].decode())
        if number >> 24 & 3 != 1:
            continue
        part = number >> 12 & 3
        if part == 0:
            report = data
        elif report is not None:
            report += data
            if part == 2:
                whole = report
port.write(b"C\r")
assert whole[0] == 0x1F, whole.hex()
stream = io.BytesIO(whole[1:])
subset, values = cbor2.load(stream), cbor2.load(stream)
print(json.dumps({"subset": subset, "values": {f"{key:#x}": value for key, value in values.items()}}))
