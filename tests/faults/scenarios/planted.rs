//! Faults of the server, planted: each is found.
