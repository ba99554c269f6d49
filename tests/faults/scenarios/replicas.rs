//! Replicas that die, hang or are drained, under clients that may use any of them.
