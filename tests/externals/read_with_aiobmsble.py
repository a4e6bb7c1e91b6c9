"""Reads batteries over BlueZ with PyPI's aiobmsble and prints what it says of each, as one JSON line.

The first argument is the address of the D-Bus; each that follows is a module of aiobmsble and the address of a battery, as
in jbd@C8:47:80:00:00:02.
"""

import asyncio
import importlib
import json
import os
import sys

from bleak import BleakScanner


async def read(module, address):
    device = await BleakScanner.find_device_by_address(address, timeout=20)
    if device is None:
        sys.exit(f"{address} is not in the air")
    async with importlib.import_module(f"aiobmsble.bms.{module}_bms").BMS(ble_device=device) as bms:
        sample = await bms.async_update()
    sample["temp_values"] = [[sensor.value, sensor.type.name] for sensor in sample["temp_values"]]
    return sample


async def main():
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = sys.argv[1]
    batteries = [argument.split("@") for argument in sys.argv[2:]]
    print(json.dumps({address: await read(module, address) for module, address in batteries}))


asyncio.run(main())
