//! Many rows at once, at the speed of the engine: `?` parameters on SQLite (numbered ones are quadratic there), COPY on PostgreSQL.
