//! `weir target`: what it changes, what it prints, its exit codes.

use std::net::SocketAddr;

use crate::process::support::{Target, Weir, command};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn start(target: &Target) -> Weir {
    Weir::start(&config(target, 1))
}

fn config(target: &Target, weight: u16) -> String {
    format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0", token = "{TOKEN}" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = [{{ address = "{}", weight = {weight} }}]
        health = false
        "#,
        target.addr()
    )
}

/// Exit code, standard output and standard error of `weir target`.
fn target(admin: SocketAddr, token: Option<&str>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command();
    command.arg("target").args(arguments);
    command.env("WEIR_ADMIN", admin.to_string());
    command.env_remove("WEIR_ADMIN_TOKEN");
    if let Some(token) = token {
        command.env("WEIR_ADMIN_TOKEN", token);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn targets_change_without_a_reload_and_the_reload_logs_the_differences() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = start(&a);
    let (a_addr, b_addr) = (a.addr().to_string(), b.addr().to_string());
    let done = |arguments: &[&str]| {
        let (code, line, errors) = target(weir.admin_addr(), Some(TOKEN), arguments);
        assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}");
        line
    };
    let line = done(&["register", "app", &b_addr, "--weight", "5"]);
    assert_eq!(line, format!("{b_addr} is registered with app, weight 5\n"));
    let line = done(&["drain", "app", &a_addr]);
    assert!(line.starts_with(&format!("{a_addr} of app drains with 0 requests")));
    assert_eq!(weir.get("/").body, "b");
    done(&["register", "app", &a_addr]);
    let line = done(&["weight", "app", &a_addr, "7"]);
    assert_eq!(line, format!("{a_addr} of app has weight 7\n"));
    let line = done(&["deregister", "app", &b_addr]);
    assert_eq!(line, format!("{b_addr} is deregistered from app\n"));
    assert_eq!(weir.get("/").body, "a");
    // The change is logged with the peer.
    weir.line(&["at run time", &b_addr, "peer=127.0.0.1:"]);

    weir.replace(&config(&a, 2));
    let expected =
        format!("target {a_addr} of app: weight 7 set at run time stays, the file says 2");
    assert!(weir.line(&[&expected]).contains("WARN"));
    assert_eq!(weir.targets("app")[0]["weight"], 7);
}

#[test]
fn the_token_may_be_in_a_file() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = start(&a);
    let file = weir.file().with_file_name("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let (file, b_addr) = (file.to_str().unwrap(), b.addr().to_string());
    let arguments = ["register", "app", &b_addr, "--token-file", file];
    // The argument has precedence over the environment.
    let (code, _, errors) = target(weir.admin_addr(), Some("wrong"), &arguments);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(weir.targets("app").len(), 2);
}

#[test]
fn a_refused_change_is_explained_and_the_exit_code_tells_refusals_from_failures() {
    let a = Target::named("a");
    let weir = start(&a);
    let (admin, addr) = (weir.admin_addr(), a.addr().to_string());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    let expect = |admin, token, arguments: &[&str], code: i32, reason: &str| {
        let (found, line, errors) = target(admin, token, arguments);
        assert_eq!((found, line.as_str()), (code, ""), "{arguments:?}");
        assert!(errors.contains(reason), "{errors}");
    };
    let drain = ["drain", "app", &addr];
    let no_token = "--token-file FILE, or WEIR_ADMIN_TOKEN";
    expect(admin, None, &drain, 2, no_token);
    expect(admin, Some("wrong"), &drain, 1, "not the token");
    expect(closed, Some(TOKEN), &drain, 2, "cannot connect to");
    let unknown = ["drain", "app", "10.0.0.1:80"];
    expect(admin, Some(TOKEN), &unknown, 1, "not a target");
    let no_group = ["drain", "nope", &addr];
    expect(admin, Some(TOKEN), &no_group, 1, "no target group `nope`");
    let heavy = ["weight", "app", &addr, "1000"];
    expect(admin, Some(TOKEN), &heavy, 2, "0..=999");
    for (file, reason) in [
        ("/no/such/file", "cannot read /no/such/file"),
        (
            "/dev/zero",
            "cannot read /dev/zero: it is longer than 4 KiB",
        ),
    ] {
        let drain = ["drain", "app", &addr, "--token-file", file];
        expect(admin, None, &drain, 2, reason);
    }
    assert_eq!(weir.targets("app")[0]["registration"], "active");
}
