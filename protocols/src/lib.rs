//! What the bytes mean: codecs, links, MQTT session logic, simulated devices.
