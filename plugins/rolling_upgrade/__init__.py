"""Rolling upgrades of a stateful OpenStack service, one node at a time, with nobody noticing."""
