//! How the framework reads and writes messages.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// The first size of a buffer, in bytes, and by how much it grows. Most messages fit; the framework's
/// own 8 KiB, twice for every call and stream, cost more than all they hold.
const BUFFER: usize = 512;
/// How much is written before it is passed on, in bytes: the framework's own.
const YIELD: usize = 32 * 1024;

/// Protobuf, with small buffers.
pub(crate) struct SmallBuffers<T, U>(PhantomData<(T, U)>);

// === impl SmallBuffers ===

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER, YIELD))
    }
}
