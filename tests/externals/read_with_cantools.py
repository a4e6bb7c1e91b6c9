"""Listens to a foxBMS on an SLCAN adapter with PyPI's cantools and prints what it says, as one JSON line."""

import json
import sys
import time

import cantools
import serial

database = cantools.database.load_file(sys.argv[2])
port = serial.Serial(sys.argv[1], timeout=0.2)
port.write(b"C\rS6\rO\r")
heard, cells, buffer = {}, {}, b""
end = time.monotonic() + 3
while time.monotonic() < end:
    buffer += port.read(4096)
    *lines, buffer = buffer.split(b"\r")
    for line in lines:
        if not line.startswith(b"t"):
            continue
        number, data = int(line[1:4], 16), bytes.fromhex(line[5:21].decode())
        try:
            message = database.get_message_by_frame_id(number)
        except KeyError:
            continue
        values = message.decode(data, decode_choices=False)
        if message.name == "CellVoltages":
            for place in range(4):
                if values[f"Valid{place}"]:
                    cells[4 * int(values["Group"]) + place] = values[f"Voltage{place}"] / 1000
        else:
            heard.update(values)
port.write(b"C\r")
heard["cells"] = [cells[cell] for cell in sorted(cells)]
print(json.dumps(heard))
