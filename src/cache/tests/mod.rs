//! Tests of the cache over a scripted store.
