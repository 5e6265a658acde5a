"""`make demo`: one command that shows a whole rolling upgrade on the lab; tests share its parts."""
