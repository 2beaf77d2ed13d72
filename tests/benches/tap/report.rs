//! Medians, ratios, and the limits that they are held against.

use super::setup::Peer;
use core::fmt::{self, Write};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Receive,
    Send,
    Both,
    PingPong,
    Connections,
    EightOf(usize),
    AllOf(usize),
}

impl Metric {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Receive => "Receive",
            Self::Send => "Send",
            Self::Both => "Both",
            Self::PingPong => "PingPong",
            Self::Connections => "Connections",
            Self::EightOf(_) | Self::AllOf(_) => "Many",
        }
    }

    fn title(self) -> String {
        match self {
            Self::Receive => "bulk receive, Gbit/s".into(),
            Self::Send => "bulk send, Gbit/s".into(),
            Self::Both => "both at once (echo), Gbit/s each way".into(),
            Self::PingPong => "one-byte ping-pong, us".into(),
            Self::Connections => "connect + echo + close, per second".into(),
            Self::EightOf(open) => format!("{} active of {open} open, us per echo", open.min(8)),
            Self::AllOf(open) => format!("{open} open, all active, echoes per second"),
        }
    }

    fn less_is_better(self) -> bool {
        matches!(self, Self::PingPong | Self::EightOf(_))
    }

    /// What socklet's figure is to be, as a multiple of the peer's. Where less is better, the peer's as a multiple of socklet's for the
    /// many, and socklet's as a share of the peer's for ping-pong.
    fn limit(self, peer: Peer) -> Option<f64> {
        use Peer::{Embassy, Kernel, Lwip, Smoltcp, Socklet};
        let [smoltcp, embassy, lwip, kernel] = match self {
            Self::Receive => [4.0, 4.5, 5.0, 0.8],
            Self::Send => [9.0, 8.0, 9.0, 0.8],
            Self::PingPong => [0.8, 0.4, 1.0, 0.8],
            Self::Connections => [1.2, 1.5, 1.0, 1.4],
            Self::EightOf(5_000) => [14.0, 12.0, 1.0, 1.0],
            Self::AllOf(5_000) => [2.4, f64::NAN, 1.6, 2.0],
            Self::Both | Self::EightOf(_) | Self::AllOf(_) => return None,
        };
        let limit = match peer {
            Socklet => return None,
            Smoltcp => smoltcp,
            Embassy => embassy,
            Lwip => lwip,
            Kernel => kernel,
        };
        (!limit.is_nan()).then_some(limit)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<Metric, Vec<(Peer, f64)>>);

impl Figures {
    pub(crate) fn add(&mut self, metric: Metric, peer: Peer, figure: f64) {
        self.0.entry(metric).or_default().push((peer, figure));
    }

    pub(crate) fn median(&self, metric: Metric, peer: Peer) -> Option<f64> {
        let of_peer = self.0.get(&metric)?.iter().filter(|(of, _)| *of == peer);
        let mut figures: Vec<f64> = of_peer.map(|(_, figure)| *figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }
}

/// The tables of one run.
pub(crate) fn markdown(figures: &Figures, peers: &[Peer], core: usize) -> String {
    let mut text = String::new();
    table(&mut text, figures, peers).expect("a string takes everything");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let available = read("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let control =
        if available.contains("cubic") { "cubic" } else { "the kernel's default (cubic is not there)" };
    let _ = writeln!(
        text,
        "\nLinux {kernel}, client and server on core {core}, congestion control {control} (there are: {available}). \
         Medians of interleaved rounds. Load average of the machine at the end: {load}; on an idle one it is about 1."
    );
    text
}

fn table(text: &mut String, figures: &Figures, peers: &[Peer]) -> fmt::Result {
    let others = || peers.iter().copied().filter(|peer| *peer != Peer::Socklet);
    let heads: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    writeln!(text, "| | {} |", heads.join(" | "))?;
    writeln!(text, "|---|{}", "---:|".repeat(peers.len()))?;
    for &metric in figures.0.keys() {
        write!(text, "| {} |", metric.title())?;
        for &peer in peers {
            match figures.median(metric, peer) {
                Some(figure) if figure >= 1000.0 => write!(text, " {figure:.0} |")?,
                Some(figure) => write!(text, " {figure:.2} |")?,
                None => write!(text, " |")?,
            }
        }
        writeln!(text)?;
    }
    writeln!(text, "\nsocklet as a multiple of each (for times: its time as a share), and the limit:\n")?;
    let heads: Vec<&str> = others().map(Peer::name).collect();
    writeln!(text, "| | {} |", heads.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(heads.len()))?;
    for &metric in figures.0.keys() {
        write!(text, "| {} |", metric.title())?;
        for peer in others() {
            let both = figures.median(metric, Peer::Socklet).zip(figures.median(metric, peer));
            match both {
                Some((own, other)) => write!(text, " {} |", verdict(metric, peer, own, other))?,
                None => write!(text, " |")?,
            }
        }
        writeln!(text)?;
    }
    idle(text, figures)
}

/// What connections cost that do nothing.
fn idle(text: &mut String, figures: &Figures) -> fmt::Result {
    const LIMIT: f64 = 1.1;
    let of = |open| figures.median(Metric::EightOf(open), Peer::Socklet);
    let Some((few, many)) = of(10).zip(of(10_000)) else { return Ok(()) };
    let ratio = many / few;
    let word = if ratio <= LIMIT { "met" } else { "**missed**" };
    writeln!(
        text,
        "\nsocklet with 10,000 open, 8 of them active, beside 10 open: {ratio:.2} (<= {LIMIT}: {word})"
    )
}

fn verdict(metric: Metric, peer: Peer, own: f64, other: f64) -> String {
    // The limits for many connections say how many times quicker.
    let inverted = matches!(metric, Metric::EightOf(_));
    let ratio = if inverted { other / own } else { own / other };
    let less = metric.less_is_better() && !inverted;
    let unit = if inverted { "x quicker" } else { "" };
    match metric.limit(peer) {
        None => format!("{ratio:.2}{unit}"),
        Some(limit) => {
            let met = if less { ratio <= limit } else { ratio >= limit };
            let (sign, word) = (if less { "<=" } else { ">=" }, if met { "met" } else { "**missed**" });
            format!("{ratio:.2}{unit} ({sign} {limit}: {word})")
        }
    }
}
