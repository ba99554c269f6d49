//! The life of a server: settings, start, signals, and a store that goes away.

mod outages;
mod settings;
mod signals;
mod start;
mod stop;
mod writes;
