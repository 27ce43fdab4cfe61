//! What the kernel tells of a process: its memory and its processor time.

/// A process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory in KiB.
    pub(crate) resident: u64,
    /// The most there ever was of it, in KiB.
    pub(crate) peak: u64,
    /// Processor time in seconds.
    pub(crate) processor: f64,
}

/// The kernel's unit of processor time in `/proc`, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

impl Usage {
    /// # Panics
    /// When there is no such process.
    pub(crate) fn of(process: u32) -> Usage {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{process}/{file}")).expect("a process")
        };
        let status = read("status");
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let words = line.and_then(|line| line.split_whitespace().next());
            words.and_then(|word| word.parse().ok()).expect("a size")
        };
        let stat = read("stat");
        // The name in brackets may hold anything; fields 14 and 15 are the times.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks
            .map(|it| it.parse::<f64>().expect("ticks"))
            .sum::<f64>();
        Usage {
            resident: kib("VmRSS:"),
            peak: kib("VmHWM:"),
            processor: ticks / TICKS_PER_SECOND,
        }
    }
}
