//! The process as the kernel sees it, read from `/proc` when somebody scrapes. Elsewhere than on Linux these
//! metrics are missing.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Debug)]
pub(crate) struct ProcessCollector {
    ticks_per_second: f64,
    page_bytes: u64,
    /// When the machine started, in seconds since 1970.
    booted: f64,
}

/// What one look at `/proc/self` gives.
struct Usage {
    cpu_seconds: f64,
    threads: u64,
    started: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
}

impl ProcessCollector {
    pub(crate) fn new() -> ProcessCollector {
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("btime "))
                .and_then(|seconds| seconds.trim().parse().ok())
        });
        ProcessCollector {
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_bytes: rustix::param::page_size() as u64,
            booted: booted.unwrap_or_default(),
        }
    }

    fn usage(&self) -> Option<Usage> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The command, in parentheses, may hold anything; fields are counted from after it, the state being number 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Usage {
            cpu_seconds: (field(14)? + field(15)?) as f64 / self.ticks_per_second,
            threads: field(20)?,
            started: self.booted + field(22)? as f64 / self.ticks_per_second,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * self.page_bytes,
        })
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(usage) = self.usage() {
            let cpu = ConstCounter::new(usage.cpu_seconds);
            let help = "User and system CPU time.";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
            gauge(
                &mut encoder,
                "process_resident_memory_bytes",
                "Resident memory.",
                usage.resident_bytes as f64,
            )?;
            gauge(
                &mut encoder,
                "process_virtual_memory_bytes",
                "Virtual memory.",
                usage.virtual_bytes as f64,
            )?;
            gauge(&mut encoder, "process_threads", "Threads.", usage.threads as f64)?;
            gauge(&mut encoder, "process_start_time_seconds", "Start, since 1970.", usage.started)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors.", open.count() as f64)?;
        }
        match open_files_max() {
            Some(max) => gauge(&mut encoder, "process_max_fds", "Limit of open file descriptors.", max),
            None => Ok(()),
        }
    }
}

/// The soft limit; `None` when there is none.
fn open_files_max() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}
