"""The real parts that the integration tests run against: each is started here and ended by its own pid."""
