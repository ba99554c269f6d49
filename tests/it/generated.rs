//! The checked-in stubs of the Rust client are what the protos say.

#[test]
fn checked_in_client_stubs_match_the_protos() {
    let generated = include_str!(concat!(env!("OUT_DIR"), "/client/stanchion.v1.rs"));
    let checked_in = include_str!("../../clients/rust/src/proto/stanchion.v1.rs");
    // Not `assert_eq`: a diff of some thousand lines helps nobody.
    assert!(
        checked_in == generated,
        "clients/rust/src/proto/ is out of date; run `STANCHION_UPDATE_STUBS=1 cargo check`"
    );
}
