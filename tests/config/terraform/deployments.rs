//! Whole deployments, each with its golden file, plans and states.

use super::*;

#[test]
fn the_service_of_the_textbook_is_translated() {
    use config::{Metric, Probe, Profile, Runner as By};
    let imported = golden("taskoverflow", &Options::default());
    let config = checked(&imported).config;
    let [listener] = config.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.bind, "0.0.0.0:80".parse().unwrap());
    let [group] = config.target_groups.as_slice() else {
        panic!("one group")
    };
    assert_eq!(group.port, Some(6400));
    let health = group.health.as_ref().unwrap();
    assert_eq!(
        (health.thresholds.healthy, health.thresholds.unhealthy),
        (2, 2)
    );
    assert_eq!(
        (health.timeout.as_secs(), health.interval.as_secs()),
        (5, 10)
    );
    // Each replica is checked at its own port, which is not 6400 on this machine.
    assert_eq!(health.port, None);
    let Probe::Http(probe) = &health.probe else {
        panic!("an HTTP check")
    };
    assert_eq!(
        (probe.path.as_str(), probe.matcher.as_slice()),
        ("/api/v1/health", &[(200, 200)][..])
    );
    let replicas = group.replicas.as_ref().unwrap();
    assert!(matches!(replicas.runner, By::Process(_)));
    assert_eq!(
        (replicas.allowance.cpus, replicas.allowance.memory),
        (Some(1.0), Some(2 << 30))
    );
    let scaling = group.autoscaling.as_ref().unwrap();
    assert_eq!(
        (scaling.min, scaling.max, scaling.profile),
        (1, 4, Profile::Aws)
    );
    let [tracking] = scaling.target_tracking.as_slice() else {
        panic!("one policy")
    };
    assert_eq!(
        (&tracking.metric, tracking.target, tracking.scale_in),
        (&Metric::Cpu, 20.0, true)
    );
    // The database has no address here; nothing else is lost.
    assert_eq!(
        not_mapped(&imported).len(),
        2,
        "{:#?}",
        not_mapped(&imported)
    );
    listed(
        &imported,
        &["ecs.tf:", "DATABASE_URL", "aws_db_instance.service.address"],
    );
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn every_kind_of_resource_is_taken_over_or_listed() {
    let options = Options {
        runner: Runner::Docker,
        ..Options::default()
    };
    let imported = golden("everything", &options);
    let config = checked(&imported).config;
    assert_eq!(config.listeners.len(), 3);
    for (line, subject, word) in [
        ("lb.tf:5:", "aws_alb.main", "internal"),
        (
            "lb.tf:26:",
            "aws_security_group_rule.lisbon",
            "var.partners",
        ),
        ("lb.tf:91:", "aws_lb_listener.secure", "no key"),
        (
            "lb.tf:197:",
            "aws_lb_listener_rule.login",
            "users must pass all",
        ),
        ("lb.tf:224:", "aws_lb_listener_rule.partly", "regex_values"),
        ("lb.tf:290:", "aws_lb_target_group.udp", "UDP"),
        (
            "lb.tf:303:",
            "aws_lb_target_group_attachment.instance",
            "aws_instance.old.id",
        ),
        ("lb.tf:306:", "module.network", "its source is not here"),
        (
            "service.tf:22:",
            "aws_ecs_service.blue",
            "service_connect_configuration",
        ),
        (
            "service.tf:27:",
            "aws_ecs_service.worker",
            "without a load balancer",
        ),
        ("service.tf:36:", "aws_ecs_task_definition.blue", "secrets"),
        ("service.tf:36:", "aws_ecs_task_definition.blue", "sidecar"),
        (
            "service.tf:",
            "aws_appautoscaling_policy.requests",
            "20 s of high resolution",
        ),
        (
            "service.tf:",
            "aws_appautoscaling_policy.queue",
            "customized",
        ),
        ("service.tf:", "aws_appautoscaling_policy.idle", "no alarm"),
        (
            "service.tf:",
            "aws_appautoscaling_scheduled_action.month_end",
            "L * ? *",
        ),
        ("service.tf:", "aws_lambda_function.other", "no counterpart"),
    ] {
        listed(&imported, &[line, subject, word]);
    }
}

#[test]
fn modules_are_read_with_their_variables_and_outputs() {
    let imported = golden("modules", &Options::default());
    let config = checked(&imported).config;
    let [listener] = config.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.bind, "0.0.0.0:80".parse().unwrap());
    let priorities: Vec<_> = listener.rules.iter().map(|rule| rule.priority.0).collect();
    assert_eq!(priorities, [10, 500]);
    let [cart, search] = config.target_groups.as_slice() else {
        panic!("two groups")
    };
    for (group, port, interval, bounds, count) in
        [(cart, 7001, 15, (2, 6), 2), (search, 7002, 15, (1, 2), 1)]
    {
        let health = group.health.as_ref().unwrap();
        let scaling = group.autoscaling.as_ref().unwrap();
        let replicas = group.replicas.as_ref().unwrap();
        assert_eq!(
            (
                group.port,
                health.interval.as_secs(),
                (scaling.min, scaling.max)
            ),
            (Some(port), interval, bounds)
        );
        assert_eq!(replicas.count, Some(count));
        assert_eq!(replicas.allowance.memory, Some(1 << 30));
    }
    for line in [
        "image = \"registry.example.com/cart:7\"",
        "STAGE = \"STAGING\"",
    ] {
        assert!(imported.toml.contains(line), "{line} in {}", imported.toml);
    }
    assert!(not_mapped(&imported).is_empty(), "{:#?}", imported.notes);
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn common_files_become_a_configuration_that_is_accepted() {
    let imported = golden("common", &Options::default());
    let config = checked(&imported).config;
    let ports: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.bind.address().unwrap().port())
        .collect();
    // Port 80 of three balancers, and of a listener that is not in the files.
    assert_eq!(ports, [80, 443, 8080, 8180, 8280]);
    for variable in ["WEIR_BIND_FLEET_0:-", "WEIR_BIND_FLEET_1:-"] {
        assert!(imported.toml.contains(variable), "{}", imported.toml);
    }
    let encrypted = &config.listeners[1];
    let priorities: Vec<_> = encrypted.rules.iter().map(|rule| rule.priority.0).collect();
    // Requests that need a login are not forwarded without it.
    assert_eq!(priorities, [7, 20, 21, 22]);
    let private = &encrypted.rules[0].action;
    assert!(
        matches!(private, weir::model::Action::FixedResponse(answer) if answer.status == 503),
        "{private:?}"
    );
    let group = |name: &str| {
        let found = config
            .target_groups
            .iter()
            .find(|group| &*group.id.0 == name);
        found.unwrap_or_else(|| panic!("{name} in {}", imported.toml))
    };
    assert_eq!(group("fleet_1").targets.len(), 2);
    let scaling = group("site").autoscaling.as_ref().unwrap();
    let schedule: Vec<_> = scaling.schedule.iter().map(|at| (at.min, at.max)).collect();
    assert_eq!(schedule, [(Some(0), Some(1)), (Some(6), Some(6))]);
    assert_eq!(scaling.step_scaling.len(), 1);
    // AWS moves a count outside of the bounds to the next bound.
    assert_eq!(group("site").replicas.as_ref().unwrap().count, Some(4));
    for (subject, word) in [
        ("aws_lb_listener.encrypted", "no key"),
        ("aws_lb_listener.packets", "TCP"),
        ("aws_lb_target_group.function", "no addresses"),
        (
            "aws_lb_listener.encrypted",
            "`aws_lb_target_group.function` is not taken over",
        ),
        ("aws_lb_listener_rule.first", "users must pass all"),
        ("aws_lb_listener_rule.elsewhere", "`var.listener_arn`"),
        (
            "aws_lb_listener_rule.elsewhere",
            "data.aws_lb_target_group.old",
        ),
        ("aws_autoscaling_group.workers", "placeholder"),
        (
            "aws_lb_listener.fleet[0]",
            "port 80 is taken by the listener `plain`",
        ),
        ("aws_ecs_service.site", "`cluster` is `var.cluster_id`"),
        ("aws_appautoscaling_policy.in", "other side"),
        (
            "aws_cloudwatch_metric_alarm.cpu[\"out\"]",
            "Maximum of the tasks",
        ),
        (
            "aws_appautoscaling_scheduled_action.night",
            "from 0 to 0 replicas",
        ),
    ] {
        listed(&imported, &[subject, word]);
    }
    assert!(
        !imported.toml.contains("cluster = \"cluster_id\""),
        "{}",
        imported.toml
    );
}

#[test]
fn modules_of_the_registry_that_many_use_are_known_without_their_source() {
    let imported = golden("registry", &Options::default());
    let config = checked(&imported).config;
    let listener = |name: &str| {
        let found = config
            .listeners
            .iter()
            .find(|listener| &*listener.id.0 == name);
        found.unwrap_or_else(|| panic!("{name} in {}", imported.toml))
    };
    let group = |name: &str| {
        let found = config
            .target_groups
            .iter()
            .find(|group| &*group.id.0 == name);
        found.unwrap_or_else(|| panic!("{name} in {}", imported.toml))
    };
    let web = listener("alb_web");
    let priorities: Vec<_> = web.rules.iter().map(|rule| rule.priority.0).collect();
    assert_eq!(
        (&web.bind, priorities),
        (&"0.0.0.0:80".parse().unwrap(), vec![3, 4])
    );
    listener("alb_moved");
    // The older one is reachable from one network: its rule and its own action.
    assert_eq!(listener("older_http-0").rules.len(), 2);
    assert_eq!(group("alb_printer").targets.len(), 1);
    assert_eq!(group("older_0").targets.len(), 1);
    let desk = group("alb_desk");
    let scaling = desk.autoscaling.as_ref().unwrap();
    assert_eq!(
        (scaling.min, scaling.max, scaling.target_tracking.len()),
        (1, 5, 2)
    );
    assert!(
        imported.toml.contains("image = \"example/desk:2\""),
        "{}",
        imported.toml
    );
    listed(&imported, &["module.vpc", "its source is not here"]);
}

#[test]
fn plans_and_states_need_no_evaluation() {
    let read = |path: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform");
        let text = fs::read_to_string(root.join(path)).expect("a text");
        import(&[file("standard input", &text)], &Options::default())
    };
    for path in [
        "plan/plan.json",
        "state/show.json",
        "state/terraform.tfstate",
    ] {
        let imported = read(path);
        let config = checked(&imported).config;
        let [listener] = config.listeners.as_slice() else {
            panic!("{path}: one listener")
        };
        assert_eq!(listener.bind, "0.0.0.0:80".parse().unwrap(), "{path}");
        let forwards = listener.rules.iter().map(|rule| match &rule.action {
            weir::model::Action::Forward(forward) => forward.groups[0].0.0.to_string(),
            other => panic!("{path}: {other:?}"),
        });
        let forwards: Vec<_> = forwards.collect();
        assert_eq!(forwards, ["front_hens", "front_pigs"], "{path}");
        let hens = &config.target_groups[0];
        assert_eq!(
            hens.replicas.as_ref().and_then(|run| run.count),
            Some(2),
            "{path}"
        );
        assert_eq!(
            hens.health.as_ref().unwrap().interval.as_secs(),
            10,
            "{path}"
        );
        assert!(
            imported.toml.contains("image = \"example/hens:1\""),
            "{path}"
        );
        assert!(imported.toml.contains("cluster = \"farm\""), "{path}");
        // The only note is that the group `pigs` has no targets.
        let notes = not_mapped(&imported);
        assert_eq!(notes.len(), 1, "{path}: {notes:#?}");
        listed(
            &imported,
            &[
                "module.front.aws_lb_target_group.this[\"pigs\"]",
                "placeholder",
            ],
        );
    }
}

#[test]
fn an_empty_state_is_reported() {
    let text = r#"{"format_version":"1.0","terraform_version":"1.9.8"}"#;
    let imported = of_named("standard input", text);
    listed(&imported, &["standard input:1: the files: no listener"]);
    assert!(config::parse("weir.toml", &imported.toml, &|_| None).is_err());
}

#[test]
fn json_syntax_and_override_files_are_terraform_too() {
    let imported = golden("json", &Options::default());
    let config = checked(&imported).config;
    let listener = &config.listeners[0];
    let port = listener.bind.address().unwrap().port();
    assert_eq!((port, listener.rules.len()), (8080, 1));
    let group = &config.target_groups[0];
    assert_eq!((group.port, group.targets.len()), (Some(7300), 1));
    assert!(
        imported.toml.contains("path = \"/ok\""),
        "{}",
        imported.toml
    );
}

#[test]
fn a_network_load_balancer_becomes_listeners_of_tcp() {
    let imported = golden("network", &Options::default());
    let config = checked(&imported).config;
    let names: Vec<_> = config.listeners.iter().map(|l| &*l.id.0).collect();
    assert_eq!(names, ["mqtt", "mqtts", "database", "dns", "elsewhere"]);
    let groups: Vec<_> = config.target_groups.iter().map(|g| &*g.id.0).collect();
    assert_eq!(groups.len(), 4, "{groups:?}");
    for (line, subject, word) in [
        ("main.tf:", "aws_lb.guarded", "internal"),
        ("main.tf:", "aws_lb_listener.mqtts", "no key"),
        ("main.tf:", "aws_lb_listener.mqtts", "offers no protocol"),
        ("main.tf:", "aws_lb_listener.database", "a firewall"),
        ("main.tf:", "aws_lb_listener.dns", "no UDP"),
        ("main.tf:", "aws_lb_listener.syslog", "UDP"),
        ("main.tf:", "aws_lb_target_group.syslog", "UDP"),
        ("main.tf:", "aws_lb_target_group.mqtt", "proxy_protocol"),
        ("main.tf:", "aws_lb_target_group.database", "insecure"),
        (
            "main.tf:",
            "aws_lb_listener.elsewhere",
            "not in these files",
        ),
    ] {
        listed(&imported, &[line, subject, word]);
    }
    let text = &imported.toml;
    for line in [
        "protocol = \"tcp\"",
        "client = { idle_timeout = \"900s\" }",
        "client = { idle_timeout = \"350s\" }",
        "proxy_protocol = \"v2\"",
        "algorithm = \"consistent_hash\"",
        "tls = { insecure = true }",
        "matcher = \"200-399\"",
        "# tls = { certificates = [{ cert = \"mqtts.crt\", key = \"mqtts.key\" }",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
