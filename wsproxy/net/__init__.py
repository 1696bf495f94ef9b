"""All I/O, on trio: listening, resolving, dialling, streams, HTTP/1 and the relay engine."""
