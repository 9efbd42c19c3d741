//! The server under measurement, with every allocation counted: what it holds is told to the byte. Slower.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn main() -> anyhow::Result<()> {
    watertight_bench_server::main(Some(|| ALLOCATOR.current_usage()))
}
