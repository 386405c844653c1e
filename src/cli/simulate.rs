//! `weir simulate`: what the policies of a group would make of a load.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::table::Table;
use weir::autoscale::plot::{self, Figure, Panel};
use weir::autoscale::simulate::{
    self, Load, LoadCurve, Rules, Run, Service, Setting, Summary, is_simulated,
};
use weir::config::{self, Autoscaling, Config, Metric, Profile, TargetGroup};

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArguments {
    /// The load: what k6 wrote (`--out json=FILE` or `csv=FILE`), a log of Weir with all requests,
    /// or lines of `seconds,requests_per_second`; `-` reads standard input
    load: PathBuf,
    /// The configuration file
    #[arg(
        long,
        short,
        env = "WEIR_CONFIG",
        default_value = "/etc/weir/weir.toml"
    )]
    config: PathBuf,
    /// The target group; needed if several of them scale
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// By whose timings to scale; several with commas [default: all but `configured`]
    #[arg(long, value_enum, value_delimiter = ',')]
    profile: Vec<Name>,
    #[command(flatten)]
    replica: ReplicaArguments,
    /// How many replicas serve at the beginning [default: as configured]
    #[arg(long, value_name = "COUNT")]
    replicas: Option<u32>,
    /// How long to go on without load after the end
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    tail: Duration,
    /// When the load begins, for scheduled actions [default: as the file says, or 2026-01-01]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Write every second of every profile as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw load and replicas
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Answer for programs, with every change and its reason
    #[arg(long)]
    json: bool,
}

/// What one replica can do.
#[derive(Debug, clap::Args)]
struct ReplicaArguments {
    /// Requests per second that one replica can serve
    #[arg(
        long,
        value_name = "REQUESTS",
        required_unless_present = "service_time"
    )]
    capacity: Option<f64>,
    /// CPU time of one request, such as `20ms`; a replica has `replicas.cpus` cores, or one
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "capacity")]
    service_time: Option<Duration>,
    /// From the decision until a new replica serves
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    start: Duration,
}

/// The names of [`Rules`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// What the file says, its own timings included
    Configured,
    /// Weir's own
    Fast,
    /// CloudWatch's alarms of a minute
    #[value(name = "aws")]
    Aws,
    /// CloudWatch's alarms of 20 seconds
    #[value(name = "aws_high_resolution")]
    AwsHighResolution,
    /// The Horizontal Pod Autoscaler
    Kubernetes,
}

impl Name {
    fn rules(self) -> Rules {
        match self {
            Self::Configured => Rules::Configured,
            Self::Fast => Rules::Profile(Profile::Fast),
            Self::Aws => Rules::Profile(Profile::Aws),
            Self::AwsHighResolution => Rules::Profile(Profile::AwsHighResolution),
            Self::Kubernetes => Rules::Kubernetes,
        }
    }
}

/// A time with its unit, below a day.
fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "write it like 20ms, 2s or 10m")?;
    let time = Duration::try_from(time).map_err(|_| "it cannot be negative")?;
    if time > Duration::from_secs(86_400) {
        return Err("it cannot be longer than a day".to_owned());
    }
    Ok(time)
}

/// Simulates and answers: exit code 0, or 1 with what is wrong on standard error.
#[expect(
    clippy::print_stderr,
    reason = "what is wrong is for whoever typed the command"
)]
pub(super) fn simulate(arguments: &SimulateArguments) -> ExitCode {
    match answer(arguments) {
        Ok(text) => {
            // A reader that went away has seen enough.
            let _ = write!(io::stdout().lock(), "{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: &SimulateArguments) -> Result<String, String> {
    let config = config::load(&arguments.config).map_err(|error| error.to_string())?;
    let group = choose(&config.config, arguments.group.as_deref())?;
    let Some(policy) = &group.autoscaling else {
        return Err(format!("group `{}` has no `autoscaling`", group.id));
    };
    let load = read_load(&arguments.load, &group.id.0)?;
    let mut notes = load.notes;
    notes.extend(unknown_metrics(policy));
    let curve = load.curve.then_silence(arguments.tail.as_secs() as usize);
    let setting = Setting {
        group: &group.id.0,
        policy,
        service: service(&arguments.replica, group)?,
        curve: &curve,
        first: first(arguments, group, policy)?,
        start: arguments.from.or(curve.start()).unwrap_or(NEW_YEAR),
    };
    let mut report = Report::new(&setting, arguments)?;
    for rules in rules(arguments, policy, &mut notes) {
        report.take(&setting, &simulate::run(&setting, rules))?;
    }
    report.finish(&setting, load.kind, &notes, arguments)
}

/// 2026-01-01T00:00:00Z: when a load without times begins.
const NEW_YEAR: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The group of that name, or the only one that scales.
fn choose<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a TargetGroup, String> {
    let groups = config.target_groups.iter();
    if let Some(name) = name {
        let mut named = groups.filter(|group| &*group.id.0 == name);
        return named
            .next()
            .ok_or_else(|| format!("no group is named `{name}`"));
    }
    let scaling: Vec<&TargetGroup> = groups.filter(|group| group.autoscaling.is_some()).collect();
    match scaling[..] {
        [] => Err("no group has `autoscaling`".to_owned()),
        [only] => Ok(only),
        _ => {
            let names: Vec<String> = scaling
                .iter()
                .map(|group| format!("`{}`", group.id))
                .collect();
            Err(format!(
                "several groups scale, {}: choose one with --group",
                names.join(", ")
            ))
        }
    }
}

/// Reads a file of load; `-` is standard input.
pub(super) fn read_load(file: &Path, group: &str) -> Result<Load, String> {
    let result = if file == Path::new("-") {
        simulate::read(io::stdin().lock(), group)
    } else {
        simulate::read(open(file)?, group)
    };
    result.map_err(|error| format!("{}: {error}", file.display()))
}

pub(super) fn open(file: &Path) -> Result<impl BufRead + use<>, String> {
    let not = |error| format!("cannot read {}: {error}", file.display());
    File::open(file).map(BufReader::new).map_err(not)
}

fn create(file: &Path) -> Result<BufWriter<File>, String> {
    let not = |error| format!("cannot write {}: {error}", file.display());
    File::create(file).map(BufWriter::new).map_err(not)
}

/// Draws a figure into a file.
pub(super) fn draw(figure: &Figure, file: &Path) -> Result<(), String> {
    let svg = plot::svg(figure).map_err(|error| error.to_string())?;
    let not = |error| format!("cannot write {}: {error}", file.display());
    std::fs::write(file, svg).map_err(not)
}

fn service(arguments: &ReplicaArguments, group: &TargetGroup) -> Result<Service, String> {
    let cpus = group
        .replicas
        .as_ref()
        .and_then(|replicas| replicas.allowance.cpus);
    match (arguments.capacity, arguments.service_time) {
        (Some(capacity), _) => Service::with_capacity(capacity, arguments.start)
            .ok_or_else(|| format!("--capacity must be above 0, and is {capacity}")),
        (None, time) => {
            let time = time.unwrap_or_default();
            Service::with_cpu_time(time, cpus.unwrap_or(1.0), arguments.start)
                .ok_or_else(|| "--service-time must be above 0".to_owned())
        }
    }
}

/// How many replicas there are at the beginning: within the bounds.
fn first(
    arguments: &SimulateArguments,
    group: &TargetGroup,
    policy: &Autoscaling,
) -> Result<u32, String> {
    let (min, max) = (policy.min, policy.max);
    match arguments.replicas {
        Some(count) if !(min..=max).contains(&count) => Err(format!(
            "--replicas must be between min and max, {min} and {max}, and is {count}"
        )),
        Some(count) => Ok(count),
        None => Ok(group.first_replicas().unwrap_or(min).clamp(min, max)),
    }
}

fn rules(
    arguments: &SimulateArguments,
    policy: &Autoscaling,
    notes: &mut Vec<String>,
) -> Vec<Rules> {
    let chosen: Vec<Rules> = arguments.profile.iter().map(|name| name.rules()).collect();
    let mut rules = if chosen.is_empty() {
        Rules::COMPARED.to_vec()
    } else {
        chosen
    };
    rules.retain(|rules| {
        let apply = rules.apply_to(policy);
        if !apply {
            notes.push(format!("{} has no target tracking to go by", rules.name()));
        }
        apply
    });
    rules
}

fn unknown_metrics(policy: &Autoscaling) -> Vec<String> {
    let targets = policy.target_tracking.iter().map(|p| &p.metric);
    let all = targets.chain(policy.step_scaling.iter().map(|p| &p.metric));
    let unknown = all.filter(|metric| !is_simulated(metric));
    let note = |metric: &Metric| {
        format!(
            "{} is not simulated: its policies have no data",
            metric.name()
        )
    };
    let mut notes: Vec<String> = unknown.map(note).collect();
    notes.dedup();
    notes
}

/// What is said about the runs, collected one by one: a run itself may be large.
struct Report {
    table: Table<9>,
    runs: Vec<Value>,
    panels: Vec<Panel>,
    csv: Option<(PathBuf, BufWriter<File>)>,
}

impl Report {
    fn new(setting: &Setting<'_>, arguments: &SimulateArguments) -> Result<Self, String> {
        let mut report = Self {
            table: Table::new([
                "PROFILE",
                "PEAK",
                "CHANGES",
                "REACTION",
                "ENOUGH",
                "REPLICA-HOURS",
                "P95",
                "OVERLOADED",
                "LOST",
            ]),
            runs: Vec::new(),
            panels: vec![simulate::load_panel(setting.curve)],
            csv: None,
        };
        if let Some(file) = &arguments.csv {
            let csv = report.csv.insert((file.clone(), create(file)?));
            let head = "profile,second,requests_per_second,desired,running,warming,cpu_percent,\
                in_flight,waiting,p95_ms,lost";
            writeln!(csv.1, "{head}").map_err(|error| cannot_write(file, &error))?;
        }
        Ok(report)
    }

    fn take(&mut self, setting: &Setting<'_>, run: &Run) -> Result<(), String> {
        let summary = simulate::summary(run);
        self.table.row(cells(run, &summary));
        self.runs.push(object(run, &summary));
        let panel = simulate::run_panel(run, setting.policy, brief(&summary));
        self.panels.push(panel);
        if let Some((file, csv)) = &mut self.csv {
            write_csv(csv, run).map_err(|error| cannot_write(file, &error))?;
        }
        Ok(())
    }

    fn finish(
        mut self,
        setting: &Setting<'_>,
        kind: simulate::Kind,
        notes: &[String],
        arguments: &SimulateArguments,
    ) -> Result<String, String> {
        if let Some((file, csv)) = &mut self.csv {
            csv.flush().map_err(|error| cannot_write(file, &error))?;
        }
        let story = [load_line(setting.curve, kind), replica_line(setting)];
        if let Some(file) = &arguments.svg {
            let figure = Figure {
                title: format!("{} under simulation", setting.group),
                subtitle: story[1].clone(),
                seconds: setting.curve.seconds() as f64,
                panels: self.panels,
            };
            draw(&figure, file)?;
        }
        if arguments.json {
            let answer = json!({
                "group": setting.group,
                "load": {
                    "seconds": setting.curve.seconds(),
                    "requests": setting.curve.total(),
                    "peak": setting.curve.peak(),
                },
                "replica": {
                    "capacity": setting.service.capacity(),
                    "start": setting.service.start.as_secs_f64(),
                },
                "min": setting.policy.min,
                "max": setting.policy.max,
                "notes": notes,
                "runs": self.runs,
            });
            return Ok(format!("{answer:#}\n"));
        }
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        let [load, replica] = story;
        Ok(format!(
            "{}: {load}\n{replica}\n{notes}\n{}",
            setting.group,
            self.table.render("")
        ))
    }
}

fn cannot_write(file: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", file.display())
}

/// "a load curve of 660 s, 1234567 requests, 1871/s on average, 5000/s at the peak".
fn load_line(curve: &LoadCurve, kind: simulate::Kind) -> String {
    let (seconds, total) = (curve.seconds(), curve.total());
    format!(
        "{} of {seconds} s, {total:.0} requests, {:.1}/s on average, {:.1}/s at the peak",
        kind.name(),
        total / seconds as f64,
        curve.peak(),
    )
}

/// "a replica serves 500 requests/s and starts in 2 s; 1 to 4 of them, cpu at 20".
fn replica_line(setting: &Setting<'_>) -> String {
    let (policy, service) = (setting.policy, &setting.service);
    let mut line = format!(
        "a replica serves {:.1} requests/s and starts in {}; {} to {} of them",
        service.capacity(),
        config::display_duration(service.start),
        policy.min,
        policy.max,
    );
    for tracking in &policy.target_tracking {
        line += &format!(", {} at {}", tracking.metric.name(), tracking.target);
    }
    line
}

fn seconds(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"))
}

fn milliseconds(value: f64) -> String {
    match value {
        1000.0.. => format!("{:.1} s", value / 1000.0),
        10.0.. => format!("{value:.0} ms"),
        _ => format!("{value:.1} ms"),
    }
}

fn cells(run: &Run, summary: &Summary) -> [String; 9] {
    [
        run.rules.name().to_owned(),
        summary.peak_desired.to_string(),
        summary.changes.to_string(),
        seconds(summary.reaction),
        seconds(summary.enough),
        format!("{:.2}", summary.replica_hours),
        milliseconds(summary.p95),
        format!("{} s", summary.overloaded),
        format!("{:.0}", summary.lost),
    ]
}

/// What a panel says besides its profile.
fn brief(summary: &Summary) -> String {
    let mut text = format!(
        "{:.2} replica-hours \u{b7} p95 {}",
        summary.replica_hours,
        milliseconds(summary.p95)
    );
    if let Some(reaction) = summary.reaction {
        text += &format!(" \u{b7} reacts in {reaction} s");
    }
    if summary.overloaded > 0 {
        text += &format!(" \u{b7} {} s overloaded", summary.overloaded);
    }
    text
}

fn object(run: &Run, summary: &Summary) -> Value {
    let changes = run.changes.iter().map(|change| {
        json!({
            "second": change.second,
            "from": change.from,
            "to": change.to,
            "why": change.why,
        })
    });
    json!({
        "profile": run.rules.name(),
        "peak_desired": summary.peak_desired,
        "reaction_seconds": summary.reaction,
        "enough_seconds": summary.enough,
        "replica_hours": summary.replica_hours,
        "p95_ms": summary.p95,
        "overloaded_seconds": summary.overloaded,
        "lost_requests": summary.lost,
        "changes": changes.collect::<Vec<Value>>(),
    })
}

fn write_csv(csv: &mut impl Write, run: &Run) -> io::Result<()> {
    let name = run.rules.name();
    for (second, row) in run.rows.iter().enumerate() {
        let moment = &row.moment;
        let cpu = moment
            .utilisation
            .map_or_else(String::new, |part| format!("{:.2}", part * 100.0));
        writeln!(
            csv,
            "{name},{second},{:.3},{},{},{},{cpu},{:.3},{:.3},{:.3},{:.3}",
            row.load,
            row.desired,
            row.running,
            row.warming,
            moment.in_flight,
            moment.waiting,
            moment.response.quantile(0.95) * 1000.0,
            moment.lost,
        )?;
    }
    Ok(())
}
