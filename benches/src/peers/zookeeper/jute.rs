//! Jute, ZooKeeper's encoding: numbers big-endian, strings and buffers behind their length.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::BenchError;

/// Appends a buffer.
pub(super) fn put_buffer(output: &mut BytesMut, value: &[u8]) {
    // Nothing here comes near 2 GiB.
    output.put_i32(value.len() as i32);
    output.put_slice(value);
}

/// Appends a string.
pub(super) fn put_string(output: &mut BytesMut, value: &str) {
    put_buffer(output, value.as_bytes());
}

/// Takes a number of 32 bits.
pub(super) fn take_i32(input: &mut Bytes) -> Result<i32, BenchError> {
    input.try_get_i32().map_err(|_| too_short())
}

/// Takes a number of 64 bits.
pub(super) fn take_i64(input: &mut Bytes) -> Result<i64, BenchError> {
    input.try_get_i64().map_err(|_| too_short())
}

/// Takes a buffer. None at all, which has the length -1, counts as empty.
pub(super) fn take_buffer(input: &mut Bytes) -> Result<Bytes, BenchError> {
    let length = usize::try_from(take_i32(input)?).unwrap_or(0);
    if input.len() < length {
        return Err(too_short());
    }
    Ok(input.split_to(length))
}

fn too_short() -> BenchError {
    BenchError::Failed("ZooKeeper answered less than it said".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let mut output = BytesMut::new();
        output.put_i32(7);
        output.put_i64(-2);
        put_string(&mut output, "/a");
        output.put_i32(-1);
        let mut input = output.freeze();
        assert_eq!(take_i32(&mut input).unwrap(), 7);
        assert_eq!(take_i64(&mut input).unwrap(), -2);
        assert_eq!(&take_buffer(&mut input).unwrap()[..], b"/a");
        assert!(take_buffer(&mut input).unwrap().is_empty());
        assert!(take_i32(&mut input).is_err());
    }

    #[test]
    fn a_buffer_that_is_cut_off_is_an_error() {
        let mut input = Bytes::from_static(&[0, 0, 0, 5, 1, 2]);
        assert!(take_buffer(&mut input).is_err());
    }
}
