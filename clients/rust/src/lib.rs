//! Client of the Stanchion service.
