//! Writes `replicas` and `autoscaling` of a group.

use super::input::{Options, Runner};
use super::plan::{Group, Scaling, Scheduled, Service, Step, Steps, When};
use super::toml::{Text, key, list, quote, variable};

/// Smallest limit of cores: the kernel counts CPU time in hundredths of a second.
const MIN_CPUS: f64 = 0.01;

/// Whether Weir or an engine runs the replicas of this group.
pub(super) fn are_run(group: &Group, options: &Options) -> bool {
    group.service.is_some() && options.targets.is_empty()
}

pub(super) fn write(out: &mut Text, service: &Service, heading: &str, options: &Options) {
    out.blank();
    out.comment(&service.origin);
    let run = options.targets.is_empty();
    if !run {
        out.comment("The targets are there already; to have them run and scaled instead:");
    }
    // The lines for other runners are comments.
    let mut lines = Text::default();
    write_replicas(&mut lines, service, heading, options.runner, options);
    if let Some(scaling) = &service.scaling {
        let most = most(options.runner);
        if scaling.most() > most {
            lines.comment(&format!("One machine runs {most} replicas at most."));
        }
        write_scaling(&mut lines, scaling, heading, most);
    }
    for line in lines.lines() {
        match (run, line) {
            (true, line) => out.line(line),
            (false, "") => out.line("#"),
            (false, line) if line.starts_with('#') => out.line(line),
            (false, line) => out.line(&format!("# {line}")),
        }
    }
}

/// Most replicas of a group that a runner supports.
fn most(runner: Runner) -> u32 {
    match runner {
        Runner::Process | Runner::Docker => 256,
        Runner::Ecs => 10_000,
    }
}

fn write_replicas(
    out: &mut Text,
    service: &Service,
    heading: &str,
    runner: Runner,
    options: &Options,
) {
    let container = &service.container;
    out.line(&format!("[{heading}.replicas]"));
    for other in [Runner::Process, Runner::Docker, Runner::Ecs] {
        let (name, value) = match other {
            Runner::Process => ("command", command(service, options)),
            Runner::Docker => ("docker", docker(service)),
            Runner::Ecs => ("ecs", ecs(service)),
        };
        if other == runner {
            out.entry(name, &value);
        } else {
            out.line(&format!("# {name} = {value}"));
        }
    }
    if runner == Runner::Process && !container.env.is_empty() {
        out.entry("env", &env(service));
    }
    if let Some(count) = service.count.filter(|count| *count > 0) {
        out.entry("count", &count.min(most(runner)).to_string());
    }
    if let Some(cpus) = container.cpus {
        out.entry("cpus", &float(cpus.clamp(MIN_CPUS, 1024.0)));
    }
    if let Some(memory) = container.memory {
        out.entry("memory", &format!("\"{memory}MiB\""));
    }
}

/// The command of a process; only the program's name is known of an image.
fn command(service: &Service, options: &Options) -> String {
    if !options.command.is_empty() {
        return list(&options.command);
    }
    let program = match service.container.name.as_str() {
        "" => service.label.as_str(),
        name => name,
    };
    let program: String = program
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    let program = if program.is_empty() { "app" } else { &program };
    let variable = variable(program);
    format!("[\"${{{variable}_PROGRAM:-{program}}}\", \"--port\", \"{{port}}\"]")
}

fn docker(service: &Service) -> String {
    let container = &service.container;
    let image = container.image.as_deref().unwrap_or(&service.label);
    let mut parts = vec![format!("image = {}", quote(image))];
    parts.extend(service.port.map(|port| format!("port = {port}")));
    if !container.command.is_empty() {
        parts.push(format!("command = {}", list(&container.command)));
    }
    if !container.env.is_empty() {
        parts.push(format!("env = {}", env(service)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn ecs(service: &Service) -> String {
    let cluster = service.cluster.as_deref().unwrap_or("default");
    let mut parts = vec![
        format!("cluster = {}", quote(cluster)),
        format!("service = {}", quote(&service.name)),
    ];
    parts.extend(service.port.map(|port| format!("port = {port}")));
    format!("{{ {} }}", parts.join(", "))
}

fn env(service: &Service) -> String {
    let env = service.container.env.iter();
    let entries: Vec<_> = env
        .map(|(name, value)| format!("{} = {}", key(name), quote(value)))
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

fn write_scaling(out: &mut Text, scaling: &Scaling, heading: &str, most: u32) {
    out.blank();
    out.comment(&scaling.origin);
    out.line(&format!("[{heading}.autoscaling]"));
    out.entry("min", &scaling.min.min(most).to_string());
    out.entry("max", &scaling.max.min(most).to_string());
    let profile = if scaling.high_resolution {
        "aws_high_resolution"
    } else {
        "aws"
    };
    out.comment("As AWS does it; \"fast\" scales out within seconds and in after a stable minute.");
    out.entry("profile", &quote(profile));
    for (key, cooldown) in [
        ("out_cooldown", scaling.out_cooldown),
        ("in_cooldown", scaling.in_cooldown),
    ] {
        // The profiles have AWS's 300 s.
        if let Some(seconds) = cooldown.filter(|seconds| *seconds != 300) {
            out.entry(key, &format!("\"{seconds}s\""));
        }
    }
    let tracking = scaling.tracking.iter().map(|policy| {
        let no_scale_in = if policy.scale_in {
            ""
        } else {
            ", scale_in = false"
        };
        let target = float(policy.target);
        let entry = format!(
            "{{ metric = \"{}\", target = {target}{no_scale_in} }}",
            policy.metric
        );
        (policy.origin.as_str(), entry)
    });
    array(out, "target_tracking", tracking.collect());
    let steps = scaling
        .steps
        .iter()
        .map(|policy| (policy.origin.as_str(), step_policy(policy)));
    array(out, "step_scaling", steps.collect());
    let schedule = scaling
        .schedule
        .iter()
        .map(|action| (action.origin.as_str(), scheduled(action, most)));
    array(out, "schedule", schedule.collect());
}

/// Writes a list with a line and the origin of each entry.
fn array(out: &mut Text, name: &str, entries: Vec<(&str, String)>) {
    if entries.is_empty() {
        return;
    }
    out.line(&format!("{name} = ["));
    for (origin, entry) in entries {
        out.line(&format!("    {entry},  # {origin}"));
    }
    out.line("]");
}

fn step_policy(policy: &Steps) -> String {
    let value = |number: f64| match policy.metric {
        "latency_p95" => format!("\"{}ms\"", number.round()),
        _ => float(number),
    };
    let step = |Step { lower, upper, by }: &Step| {
        let mut parts = Vec::new();
        parts.extend(lower.map(|bound| format!("lower = {}", value(bound))));
        parts.extend(upper.map(|bound| format!("upper = {}", value(bound))));
        parts.push(format!("by = {by}"));
        format!("{{ {} }}", parts.join(", "))
    };
    let steps: Vec<_> = policy.list.iter().map(step).collect();
    let mut parts = vec![
        format!("metric = \"{}\"", policy.metric),
        format!("comparison = \"{}\"", policy.comparison),
        format!("threshold = {}", value(policy.threshold)),
        format!("periods = {}", policy.periods),
        format!("period = \"{}s\"", policy.period),
        format!("adjustment = \"{}\"", policy.adjustment),
        format!("cooldown = \"{}s\"", policy.cooldown),
    ];
    parts.extend(
        policy
            .min_magnitude
            .map(|least| format!("min_magnitude = {least}")),
    );
    parts.push(format!("steps = [{}]", steps.join(", ")));
    format!("{{ {} }}", parts.join(", "))
}

fn scheduled(action: &Scheduled, most: u32) -> String {
    let mut parts = match &action.when {
        When::Cron(expression, zone) => vec![
            format!("cron = {}", quote(expression)),
            format!("timezone = {}", quote(zone)),
        ],
        When::At(time) => vec![format!("at = {}", quote(time))],
        When::Rate(minutes) => vec![format!("rate = \"{minutes}m\"")],
    };
    parts.extend(action.min.map(|min| format!("min = {}", min.min(most))));
    parts.extend(action.max.map(|max| format!("max = {}", max.min(most))));
    format!("{{ {} }}", parts.join(", "))
}

/// A float of TOML with at most four decimals.
fn float(number: f64) -> String {
    let rounded = (number * 10_000.0).round() / 10_000.0;
    format!("{rounded:?}")
}
