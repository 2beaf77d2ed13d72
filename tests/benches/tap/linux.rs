//! TCP on a TAP interface, side by side with others: `cargo bench -p socklet-tests --bench tap`, or with `-- --quick`.
//!
//! Each server is a process of its own, in a private network with the Linux client. Both are on one core, so that the figures are what a byte
//! or a request costs in all. The peers take turns; what counts are medians, and ratios within one run. See the README beside this folder.

mod client;
mod plot;
mod report;
mod serve;
mod setup;

use core::error::Error;
use core::time::Duration;
use report::{Figures, Metric};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use setup::{Peer, Service, Setup};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &words[..] {
        ["serve", peer, service, connections, buffer] => as_server(peer, service, connections, buffer),
        options => Plan::new(options).and_then(|plan| bench(&plan)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn as_server(peer: &str, service: &str, connections: &str, buffer: &str) -> Result<(), Box<dyn Error>> {
    let setup =
        Setup { service: service.parse()?, connections: connections.parse()?, buffer: buffer.parse()? };
    serve::run(peer.parse()?, setup)
}

/// What to measure, and for how long.
struct Plan {
    rounds: usize,
    time: Duration,
    open: &'static [usize],
    all_active: usize,
    peers: Vec<Peer>,
    only: Option<String>,
    /// Only one that is complete is kept in `results/`.
    complete: bool,
}

impl Plan {
    fn new(options: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut plan = Self {
            rounds: 5,
            time: Duration::from_millis(1000),
            open: &[1, 10, 100, 1_000, 5_000, 10_000],
            all_active: 5_000,
            peers: Peer::ALL.to_vec(),
            only: None,
            complete: true,
        };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            plan.complete = false;
            match *option {
                "--quick" => {
                    plan.rounds = 3;
                    plan.time = Duration::from_millis(250);
                    plan.open = &[1, 10, 100, 1_000];
                    plan.all_active = 1_000;
                }
                "--rounds" => plan.rounds = options.next().ok_or("--rounds needs a number")?.parse()?,
                "--peer" => plan.peers = vec![options.next().ok_or("--peer needs a name")?.parse()?],
                "--only" => plan.only = Some((*options.next().ok_or("--only needs a name")?).to_owned()),
                _ => {
                    return Err(format!(
                        "no option {option}; there are --quick, --rounds N, --peer NAME and \
                         --only Receive|Send|Both|PingPong|Connections|Many"
                    )
                    .into());
                }
            }
        }
        Ok(plan)
    }

    fn wants(&self, workload: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == workload)
    }
}

fn bench(plan: &Plan) -> Result<(), Box<dyn Error>> {
    setup::prepare()?;
    let core = thread::available_parallelism()?.get() - 1;
    setup::pin(core)?;
    // Where the system lets it, others on this core wait.
    let _ = rustix::process::nice(-15);
    let _ = std::fs::write("/proc/self/autogroup", "-15");
    let mut peers = plan.peers.clone();
    if peers.contains(&Peer::Lwip)
        && let Err(why) = serve::build_lwip()
    {
        eprintln!("{why}");
        peers.retain(|peer| *peer != Peer::Lwip);
    }
    let mut figures = Figures::default();
    for round in 1..=plan.rounds {
        for &peer in &peers {
            eprint!("\rround {round} of {}: {:<30}", plan.rounds, peer.name());
            measure(plan, peer, &mut figures)
                .map_err(|error| format!("{} in round {round}: {error}", peer.name()))?;
        }
    }
    eprintln!();
    let report = report::markdown(&figures, &peers, core);
    println!("{report}");
    if plan.complete {
        let results = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results");
        std::fs::create_dir_all(results)?;
        std::fs::write(format!("{results}/tap.md"), report)?;
        plot::draw(&figures, &peers, plan.open, &format!("{results}/tap.svg"))?;
    }
    Ok(())
}

type Workload = (Metric, fn(Duration) -> std::io::Result<f64>);

fn measure(plan: &Plan, peer: Peer, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let time = plan.time;
    let few: [(Service, &[Workload]); 3] = [
        (Service::Discard, &[(Metric::Receive, client::bulk_receive)]),
        (Service::Flood, &[(Metric::Send, client::bulk_send)]),
        (
            Service::Echo,
            &[
                (Metric::Both, client::both),
                (Metric::PingPong, client::ping_pong),
                (Metric::Connections, client::connections),
            ],
        ),
    ];
    for (service, workloads) in few {
        if !workloads.iter().any(|(metric, _)| plan.wants(metric.name())) {
            continue;
        }
        let server = Server::start(peer, Setup::few(service))?;
        for &(metric, workload) in workloads {
            if plan.wants(metric.name()) {
                let figure = server.with_client(move || workload(time));
                figures.add(metric, peer, figure.map_err(|error| format!("{}: {error}", metric.name()))?);
            }
        }
    }
    if plan.wants("Many") {
        for &count in plan.open {
            measure_many(plan, peer, count, figures)?;
        }
    }
    Ok(())
}

/// So many open connections, on a server with room for few more: those that look at all their sockets have no others to look at.
fn measure_many(plan: &Plan, peer: Peer, count: usize, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let (time, all) = (plan.time, count == plan.all_active);
    let server = Server::start(peer, Setup::many(count))?;
    let many = server.with_client(move || {
        let mut connections = client::Open::default();
        connections.grow(count)?;
        let rate = connections.use_some(8.min(count), time / 2)?;
        let of_all = if all { Some(connections.use_some(count, time)?) } else { None };
        Ok((1e6 / rate, of_all))
    });
    let (micros, of_all) = many.map_err(|error| format!("{count} connections: {error}"))?;
    figures.add(Metric::EightOf(count), peer, micros);
    if let Some(rate) = of_all {
        figures.add(Metric::AllOf(count), peer, rate);
    }
    Ok(())
}

/// A server in a process of its own.
struct Server {
    process: Child,
    network: String,
}

impl Server {
    fn start(peer: Peer, setup: Setup) -> Result<Self, Box<dyn Error>> {
        let Setup { service, connections, buffer } = setup;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", &peer.to_string(), &service.to_string()])
            .args([connections.to_string(), buffer.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        let mut network = String::new();
        BufReader::new(stdout).read_line(&mut network)?;
        if network.is_empty() {
            let _ = process.wait();
            return Err("the server did not start".into());
        }
        Ok(Self { process, network: network.trim().to_owned() })
    }

    /// Runs `client` in the network where the server is to be reached.
    fn with_client<T: Send + 'static>(
        &self,
        client: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let network = File::open(&self.network)?;
        let inside = move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            client()
        };
        thread::spawn(inside).join().unwrap_or_else(|_| Err(std::io::Error::other("the client panicked")))
    }
}

/// It ends with its standard input.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
