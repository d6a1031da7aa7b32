"""Many records: kept in a database, searched for the one that a candidate comes from."""
