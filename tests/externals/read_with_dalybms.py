"""Reads a Daly board with PyPI's dalybms and prints what it says, as one JSON line."""

import json
import sys

from dalybms import DalyBMS

bms = DalyBMS(request_retries=3, address=4)
bms.connect(device=sys.argv[1])
print(json.dumps({
    "soc": bms.get_soc(),
    "status": bms.get_status(),
    "cell_voltages": list(bms.get_cell_voltages().values()),
    "cell_voltage_range": bms.get_cell_voltage_range(),
    "temperatures": list(bms.get_temperatures().values()),
    "mosfet_status": bms.get_mosfet_status(),
    "errors": bms.get_errors(),
}))
