//! `voltree bench actors`: the same work done by our supervised actors and by Erlang's, in turns, in one run.
//!
//! Every workload of every round runs in a process of its own with two scheduler threads. What is compared are medians
//! of five rounds; nothing is remembered from an earlier run. Log lines go where the processes' standard error goes:
//! to a sink.

mod erlang;
mod table;
mod workload;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use self::table::{Bar, Row, Side};
use self::workload::Size;
use crate::cli::say;

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Test {
    /// Spawn all workers, then a message and a question for each.
    Spawn,
    /// Messages from as many senders as there are workers.
    Many,
    /// Questions from as many clients as there are workers.
    AskMany,
    /// One crash after the other.
    Fault,
    /// Many crashes at once.
    Storm,
}

/// How to measure the actors.
#[derive(Debug, Args)]
pub(crate) struct ActorsOptions {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Only see that everything runs: little work, one round, no Erlang. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// How many rounds to take the medians of.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Run one workload in this process and print its figures; what the others are made of.
    #[arg(long, hide = true)]
    one: Option<Test>,
}

/// The figures of all rounds, by workload and name.
type Figures = BTreeMap<(Test, String), Vec<f64>>;

/// Runs the benchmark.
pub(crate) fn run(options: &ActorsOptions) -> anyhow::Result<()> {
    if let Some(test) = options.one {
        return one(test, options.quick);
    }
    let rounds = if options.quick { 1 } else { options.rounds };
    let erlang = if options.quick { None } else { erlang::Anchor::find()? };
    let (mut ours, mut theirs) = (Figures::new(), Figures::new());
    for round in 1..=rounds {
        for test in [Test::Spawn, Test::Many, Test::AskMany, Test::Fault, Test::Storm] {
            progress(&format!("round {round} of {rounds}: {test:?}"));
            add(&mut ours, test, "", &ours_once(test, options.quick)?);
            if let Some(erlang) = &erlang {
                for (form, script) in test.erlang() {
                    add(&mut theirs, test, form, &erlang.run(script)?);
                }
            }
        }
    }
    let rows = rows(&ours, &theirs);
    let erlang = erlang.as_ref().map(erlang::Anchor::version);
    if options.json {
        say(&table::json(&rows, rounds, options.quick, erlang)?);
    } else {
        say(&table::text(&rows, rounds, options.quick, erlang));
    }
    Ok(())
}

impl Test {
    fn size(self, quick: bool) -> Size {
        let (workers, work) = match self {
            Self::Spawn => (100_000, 0),
            Self::Many => (1_000, 2_000_000),
            Self::AskMany => (1_000, 1_000_000),
            Self::Fault => (100_000, 1_000),
            Self::Storm => (100_000, 10_000),
        };
        if quick { Size { workers: workers / 100, work: work / 100 } } else { Size { workers, work } }
    }

    /// Erlang's forms of the same, with the name of the script's own test.
    fn erlang(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Spawn => &[("", "spawn")],
            Self::Many => &[("", "many")],
            Self::AskMany => &[("", "askn")],
            Self::Fault => &[("error ", "fault"), ("kill ", "faultkill")],
            Self::Storm => &[("error ", "storm"), ("kill ", "stormkill")],
        }
    }
}

/// Runs one workload here, with logging and metrics as a node has them.
fn one(test: Test, quick: bool) -> anyhow::Result<()> {
    voltree_runtime::telemetry::install("info", voltree_runtime::telemetry::LogFormat::Text)
        .map_err(|error| anyhow::anyhow!("installing the log: {error}"))?;
    voltree_runtime::metrics::install(crate::metric_table::TABLE).context("installing the metrics")?;
    for (name, value) in workload::run(test, test.size(quick))? {
        say(&format!("voltree,{test:?},{name},{value:.3}"));
    }
    Ok(())
}

fn ours_once(test: Test, quick: bool) -> anyhow::Result<Vec<(String, f64)>> {
    let program = std::env::current_exe().context("finding this program, to run a workload in")?;
    let name = test.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(program);
    command.args(["bench", "actors", "--one", &name]).args(quick.then_some("--quick"));
    figures(command.stderr(Stdio::null()))
}

/// Runs a program that prints lines of `who,workload,figure,value`.
fn figures(command: &mut Command) -> anyhow::Result<Vec<(String, f64)>> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    anyhow::ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = |line: &str| {
        let mut fields = line.split(',').skip(2);
        Some((fields.next()?.to_owned(), fields.next()?.trim().parse().ok()?))
    };
    let figures: Vec<_> = text.lines().filter_map(figure).collect();
    anyhow::ensure!(!figures.is_empty(), "{command:?} printed no figures: {text}");
    Ok(figures)
}

fn add(all: &mut Figures, test: Test, form: &str, figures: &[(String, f64)]) {
    for (name, value) in figures {
        all.entry((test, format!("{form}{name}"))).or_default().push(*value);
    }
}

fn progress(what: &str) {
    use std::io::Write as _;
    // Nobody who looks is no reason to stop.
    writeln!(std::io::stderr(), "{what}").ok();
}

fn rows(ours: &Figures, theirs: &Figures) -> Vec<Row> {
    let side = |all: &Figures, test, name: &str| all.get(&(test, name.to_owned())).map(|v| Side::of(v));
    let row = |what, unit, test, name: &'static str, forms: &[&str], bar| {
        let theirs = forms.iter().filter_map(|form| side(theirs, test, &format!("{form}{name}")));
        // The better of Erlang's forms is the one to beat.
        let theirs = theirs.reduce(|a, b| if a.median <= b.median { a } else { b });
        side(ours, test, name).map(|ours| Row { what, unit, ours, theirs, bar })
    };
    let both = &["error ", "kill "];
    let warm = "rss_bytes_per_worker_after_1msg";
    [
        row("spawn 100,000 supervised actors", "ms", Test::Spawn, "ms_total", &[""], Bar::AtMost(1.0)),
        row("resident per actor, warm, with inbox", "B", Test::Spawn, warm, &[""], Bar::AtMost(1.1)),
        row("one-way 1000 to 1000, by inboxes", "msg/s", Test::Many, "msgs_per_s", &[""], Bar::AtLeast(4.0)),
        row("ask 1000 with 1000", "asks/s", Test::AskMany, "asks_per_s", &[""], Bar::AtLeast(3.0)),
        row("crash to born again, p50", "us", Test::Fault, "p50_us", both, Bar::None),
        row("crash to born again, p99", "us", Test::Fault, "p99_us", both, Bar::AtMost(0.5)),
        row("10,000 of 100,000 crash: all back", "ms", Test::Storm, "total_ms", both, Bar::AtMost(0.25)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
