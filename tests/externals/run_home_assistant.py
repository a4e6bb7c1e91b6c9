"""Runs Home Assistant with its MQTT integration on a broker, without its web pages, until it is ended.

usage: run_home_assistant.py DIR PORT USER PASSWORD
"""

import json
import pathlib
import socket
import sys

import homeassistant.bootstrap
from homeassistant.__main__ import main

directory, port, user, password = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]

# It wants a port for its pages, though nobody visits them.
with socket.create_server(("127.0.0.1", 0)) as server:
    pages = server.getsockname()[1]

# What it sees it says again over MQTT; when it is warm it turns the lamp on.
(directory / "configuration.yaml").write_text(
    f"""
homeassistant: {{name: Test, latitude: 0, longitude: 0, elevation: 0, unit_system: metric, time_zone: UTC}}
http: {{server_host: 127.0.0.1, server_port: {pages}}}
mqtt_statestream: {{base_topic: hass}}
automation:
  - alias: warm
    triggers: [{{trigger: numeric_state, entity_id: sensor.house_temp, above: 22}}]
    actions: [{{action: light.turn_on, target: {{entity_id: light.lamp}}}}]
"""
)
entry = {
    "created_at": "2026-01-01T00:00:00+00:00",
    "modified_at": "2026-01-01T00:00:00+00:00",
    "data": {"broker": "127.0.0.1", "port": port, "username": user, "password": password, "discovery": True},
    "disabled_by": None,
    "discovery_keys": {},
    "domain": "mqtt",
    "entry_id": "01JTESTVOLTREE000000000000",
    "minor_version": 2,
    "options": {},
    "pref_disable_new_entities": False,
    "pref_disable_polling": False,
    "source": "user",
    "title": "voltree",
    "unique_id": None,
    "version": 1,
}
storage = directory / ".storage"
storage.mkdir()
(storage / "core.config_entries").write_text(
    json.dumps({"version": 1, "minor_version": 4, "key": "core.config_entries", "data": {"entries": [entry]}})
)
# Otherwise it starts in recovery mode where its pages are not installed.
homeassistant.bootstrap.CRITICAL_INTEGRATIONS = set()
sys.argv = ["hass", "--config", str(directory), "--skip-pip"]
sys.exit(main())
