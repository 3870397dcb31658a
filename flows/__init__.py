"""The wiring: Prefect flows, the `ratchet` command, the spec, reports. The only room in which the others meet."""
