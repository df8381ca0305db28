"""Pages for people: `/rates`, `/rates/{currency}`, `/fixings/{source}/{date}`."""
