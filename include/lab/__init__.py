"""The lab: a real Glance fleet on one machine, to rehearse a rolling upgrade on."""
