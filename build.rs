//! Generates from `proto/`: the server traits, the stored records, the descriptor set that
//! reflection serves, and the stubs of the Rust client.
//!
//! The client's stubs are checked in, so that the client builds without the protos. Here they only
//! go to `OUT_DIR`, where a test compares them; with `STANCHION_UPDATE_STUBS=1` also to their place.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const PUBLIC: [&str; 27] = [
    "stanchion/v1/audit_service.proto",
    "stanchion/v1/barrier.proto",
    "stanchion/v1/barrier_service.proto",
    "stanchion/v1/common.proto",
    "stanchion/v1/config.proto",
    "stanchion/v1/config_commit.proto",
    "stanchion/v1/config_diff.proto",
    "stanchion/v1/config_draft.proto",
    "stanchion/v1/config_pin.proto",
    "stanchion/v1/config_read.proto",
    "stanchion/v1/config_release.proto",
    "stanchion/v1/config_schema.proto",
    "stanchion/v1/config_service.proto",
    "stanchion/v1/election_hold.proto",
    "stanchion/v1/election_service.proto",
    "stanchion/v1/error_reason.proto",
    "stanchion/v1/health_check.proto",
    "stanchion/v1/latch.proto",
    "stanchion/v1/lock_hold.proto",
    "stanchion/v1/lock_inspection.proto",
    "stanchion/v1/lock_mode.proto",
    "stanchion/v1/lock_service.proto",
    "stanchion/v1/lock_set.proto",
    "stanchion/v1/operator_service.proto",
    "stanchion/v1/registry_service.proto",
    "stanchion/v1/server_service.proto",
    "stanchion/v1/session_service.proto",
];
const STORED: [&str; 1] = ["stanchion/store/v1/records.proto"];
const CLIENT_STUBS: &str = "clients/rust/src/proto/stanchion.v1.rs";
const UPDATE_STUBS: &str = "STANCHION_UPDATE_STUBS";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed={UPDATE_STUBS}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let client_out = out.join("client");
    fs::create_dir_all(&client_out)?;

    let public = protox::compile(PUBLIC, ["proto"])?;
    fs::write(out.join("descriptor_set.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::rpc::codec::SmallBuffers")
        // The messages exist once, in the client crate.
        .extern_path(".stanchion.v1", "::stanchion_client::proto")
        .out_dir(&out)
        .compile_fds(public.clone())?;
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        // Equal messages encode to equal bytes, so that a frame can be shared and compared.
        .btree_map(".")
        .out_dir(&client_out)
        .compile_fds(public)?;
    if env::var_os(UPDATE_STUBS).is_some() {
        fs::copy(client_out.join("stanchion.v1.rs"), CLIENT_STUBS)?;
    }

    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        // Equal records encode to equal bytes.
        .btree_map(".")
        .out_dir(&out)
        .compile_fds(protox::compile(STORED, ["proto"])?)?;
    Ok(())
}
