"""Where alerts go: MQTT."""
