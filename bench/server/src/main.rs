//! The server under measurement, as fast as it is.

fn main() -> anyhow::Result<()> {
    watertight_bench_server::main(None)
}
