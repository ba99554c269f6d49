//! Sessions: one lease per client process, which carries all that must end with it.

mod session;

pub use self::session::Session;
