"""Reads a SunSpec battery over Modbus RTU with PyPI's pysunspec2 and prints its models, as one JSON line."""

import json
import sys

import sunspec2.modbus.client as client

device = client.SunSpecModbusClientDeviceRTU(slave_id=int(sys.argv[2]), name=sys.argv[1], baudrate=9600)
device.scan()
battery, bank = device.models[802][0], device.models[803][0]
print(json.dumps({
    "base": device.base_addr,
    "volts": battery.points["V"].cvalue,
    "amps": battery.points["A"].cvalue,
    "soc": battery.points["SoC"].cvalue,
    "capacity": battery.points["AHRtg"].cvalue,
    "max_cell": battery.points["CellVMax"].cvalue,
    "min_cell": battery.points["CellVMin"].cvalue,
    "max_module_temperature": bank.points["ModTmpMax"].cvalue,
    "strings": bank.points["NStr"].value,
}))
