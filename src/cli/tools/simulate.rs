//! `weir simulate`: simulates the autoscaling of a group under a load.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use super::files::read_load;
use super::report::{Outputs, Report};
use crate::cli::format::FormatArguments;
use crate::config::{self, Autoscaling, Config, Profile, TargetGroup, Timing};
use crate::tools::simulate::{self, ScalingRules, Service, Setting, is_simulated};

#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArguments {
    /// The load: what k6 wrote (`--out json=FILE` or `csv=FILE`), a log of Weir with all
    /// requests, or lines of `seconds,requests_per_second`; all of them also as gzip; `-` reads
    /// standard input
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
    /// The rules to compare, separated by commas [default: all of them; `configured` only if it
    /// differs from the others]
    #[arg(long, value_enum, value_delimiter = ',')]
    profile: Vec<Name>,
    #[command(flatten)]
    replica: ReplicaArguments,
    /// Replicas that serve at the start [default: as configured]
    #[arg(long, value_name = "COUNT")]
    replicas: Option<u32>,
    /// Time without load to add at the end
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    tail: Duration,
    /// Time at which the load starts, for scheduled actions [default: that of the file, or
    /// 2026-01-01]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Write every second of every profile as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the load and the replicas as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    // JSON has every change with its reason.
    #[command(flatten)]
    format: FormatArguments,
}

/// The capacity of one replica.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("speed").required(true).args(["capacity", "service_time"]))]
struct ReplicaArguments {
    /// Requests per second that one replica can serve
    #[arg(long, value_name = "REQUESTS")]
    capacity: Option<f64>,
    /// CPU time of one request, such as `20ms`; a replica has `replicas.cpus` cores, or one
    #[arg(long, value_name = "TIME", value_parser = time)]
    service_time: Option<Duration>,
    /// Time from the decision until a new replica serves
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    start: Duration,
}

/// The names of [`ScalingRules`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// The configuration with its own timings
    Configured,
    /// Weir's default
    Fast,
    /// AWS's alarms of a minute
    #[value(name = "aws")]
    Aws,
    /// AWS's alarms of 20 seconds
    #[value(name = "aws_high_resolution")]
    AwsHighResolution,
    /// The Horizontal Pod Autoscaler
    Kubernetes,
}

impl Name {
    fn rules(self) -> ScalingRules {
        match self {
            Self::Configured => ScalingRules::Configured,
            Self::Fast => ScalingRules::Profile(Profile::Fast),
            Self::Aws => ScalingRules::Profile(Profile::Aws),
            Self::AwsHighResolution => ScalingRules::Profile(Profile::AwsHighResolution),
            Self::Kubernetes => ScalingRules::Kubernetes,
        }
    }
}

/// Parses a time with its unit, at most a day.
fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "write it like 20ms, 2s or 10m")?;
    let time = Duration::try_from(time).map_err(|_| "it cannot be negative")?;
    if time > Duration::from_secs(86_400) {
        return Err("it cannot be longer than a day".to_owned());
    }
    Ok(time)
}

/// Simulates and prints the report: exit code 0, or 2 and the problem on standard error.
#[expect(
    clippy::print_stderr,
    reason = "what was written, or what is wrong, is for the terminal"
)]
pub(crate) fn simulate(arguments: &SimulateArguments) -> ExitCode {
    match report(arguments) {
        Ok(text) => {
            // The output may be closed early.
            let _ = write!(io::stdout().lock(), "{text}");
            for file in arguments.csv.iter().chain(&arguments.svg) {
                eprintln!("wrote {}", file.display());
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn report(arguments: &SimulateArguments) -> Result<String, String> {
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
    let outputs = Outputs {
        csv: arguments.csv.as_deref(),
        svg: arguments.svg.as_deref(),
        is_json: arguments.format.is_json(),
    };
    let mut report = Report::new(&setting, outputs)?;
    for rules in rules(arguments, policy, &mut notes) {
        report.add(&setting, &simulate::run(&setting, rules))?;
    }
    report.finish(&setting, load.format, &notes)
}

/// The start of a load without times: 2026-01-01T00:00:00Z.
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

/// The replicas at the start, within the bounds.
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
) -> Vec<ScalingRules> {
    let mut rules: Vec<ScalingRules> = arguments.profile.iter().map(|name| name.rules()).collect();
    if rules.is_empty() {
        if policy.timing != Timing::of(policy.profile) {
            rules.push(ScalingRules::Configured);
        }
        rules.extend(ScalingRules::COMPARED);
    }
    rules.retain(|rules| {
        let apply = rules.apply_to(policy);
        if !apply {
            notes.push(format!("{} has no target tracking to go by", rules.name()));
        }
        apply
    });
    if rules.contains(&ScalingRules::Kubernetes) && !policy.schedule.is_empty() {
        let (min, max) = (policy.min, policy.max);
        notes.push(format!(
            "kubernetes knows no schedule: it keeps from {min} to {max}"
        ));
    }
    rules
}

fn unknown_metrics(policy: &Autoscaling) -> Vec<String> {
    let tracked = policy.target_tracking.iter().map(|policy| &policy.metric);
    let stepped = policy.step_scaling.iter().map(|policy| &policy.metric);
    let mut notes: Vec<String> = tracked
        .chain(stepped)
        .filter(|metric| !is_simulated(metric))
        .map(|metric| {
            format!(
                "{} is not simulated: its policies have no data",
                metric.name()
            )
        })
        .collect();
    notes.dedup();
    notes
}
