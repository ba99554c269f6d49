//! What a write of a config takes longer than a bare one: it is checked, and leaves a version and an
//! entry in the audit.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{
    busy::Work,
    saturation::{Load, keep_working},
};
use crate::{
    BenchError,
    http2::Connection,
    sample::{Goal, P50, Sample},
    target::{Site, Target},
    wire::Dialect,
};

/// Over how many configs the writes are spread.
const CONFIGS: u64 = 100;

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Bytes of a content.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=15_000))]
    content_bytes: u32,
    /// Seconds that are measured; less than 2 is too coarse for the kernel's clock.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it: no more than so many times as long as with etcd alone.
pub(crate) const GOALS: &[Goal] = &[Goal::against(Target::Etcd, P50, 1.0 / 1.5, 1.0 / 2.0)];

/// Writes contents that are never the same, which would change nothing.
struct Writes {
    dialect: Dialect,
    content_bytes: usize,
    next: u64,
}

/// Measures one target: one write after the other.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let load = Load::one_at_a_time(options.seconds);
    let writes = |_| Writes {
        dialect: site.dialect(),
        content_bytes: options.content_bytes as usize,
        next: 0,
    };
    keep_working(site, &load, writes).await
}

// === impl Writes ===

impl Work for Writes {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        let number = self.next;
        self.next += 1;
        let key = format!("config-{}", number % CONFIGS);
        let call = self.dialect.put_call(&key, self.content(number));
        Some((number, connection.start(&call)))
    }
}

impl Writes {
    fn content(&self, number: u64) -> Bytes {
        let mut content = BytesMut::with_capacity(self.content_bytes);
        content.put_u64(number);
        content.resize(self.content_bytes, b'.');
        content.freeze()
    }
}
