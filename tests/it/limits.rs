//! What the server refuses, and what it serves besides its API: bounds of connections and calls,
//! deadlines, health, reflection.

mod calls;
mod connections;
mod deadlines;
mod infrastructure;
mod slow_store;
mod watchers;
