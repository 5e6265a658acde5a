"""The load: clients that use the lab's Glance through both balancers and see every failed request."""
