"""What was measured: records, migrations, the DuckDB store and the queries over it."""
