//! Listeners that move while clients use them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::process::support::{Client, Users, Weir, eventually};

/// A listener that answers with its name.
fn named(name: &str, bind: &str) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\nbind = \"{bind}\"\n\
         fixed_response = {{ status = 200, body = \"{name}\" }}\n"
    )
}

fn with_admin(bind: &str) -> String {
    format!(
        "workers = 2\nadmin = {{ bind = \"{bind}\" }}\n\
         shutdown = {{ lame_duck = \"0s\", drain = \"10s\" }}\n"
    )
}

/// Clients that send each request on a new connection. A failed request fails the test.
struct NewConnections {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl NewConnections {
    fn start(addr: SocketAddr, path: &'static str, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stopped = Arc::clone(&stop);
            thread::spawn(move || {
                let mut answers = 0;
                while !stopped.load(Ordering::SeqCst) {
                    let reply = Client::connect(addr)
                        .get(path)
                        .expect("no broken connection");
                    assert_eq!(reply.status, 200, "{}", reply.body);
                    answers += 1;
                }
                answers
            })
        };
        let threads = (0..count).map(client).collect();
        Self { stop, threads }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    }
}

/// Loads the configurations one after another, and waits for each.
fn go_through(weir: &Weir, configs: &[String], rounds: usize) {
    for n in 0..rounds {
        weir.replace(&configs[n % configs.len()]);
        weir.nth_line(n + 1, &["configuration loaded: "]);
    }
}

#[test]
fn a_listener_that_moves_on_its_port_loses_no_request() {
    let admin = with_admin("127.0.0.1:0");
    let weir = Weir::start(&format!("{admin}{}", named("web", "127.0.0.1:0")));
    let addr = weir.addr();
    let wide = format!("0.0.0.0:{}", addr.port());
    let narrow = addr.to_string();
    let users = Users::start(addr, 4, "/", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
    let new_connections = NewConnections::start(addr, "/", 4);
    let steps = [
        ("web", &wide),
        ("web", &narrow),
        ("site", &narrow),
        ("site", &wide),
        ("web", &narrow),
        ("site", &wide),
        ("web", &wide),
        ("web", &narrow),
    ];
    let configs = steps.map(|(name, bind)| format!("{admin}{}", named(name, bind)));
    go_through(&weir, &configs, 40);
    assert!(users.stop() > 0 && new_connections.stop() > 0);
}

#[test]
fn wide_sockets_hand_their_clients_to_narrow_ones() {
    let admin = with_admin("127.0.0.1:0");
    let weir = Weir::start(&format!("{admin}{}", named("web", "0.0.0.0:0")));
    let addr = ([127, 0, 0, 1], weir.addr().port()).into();
    let users = Users::start(addr, 4, "/", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
    let new_connections = NewConnections::start(addr, "/", 4);
    weir.replace(&format!("{admin}{}", named("site", &addr.to_string())));
    weir.line(&["configuration loaded: "]);
    let other = SocketAddr::from(([127, 0, 0, 2], addr.port()));
    eventually("the wide sockets close", || {
        match TcpStream::connect(other) {
            Ok(_) => Err("open".to_owned()),
            Err(_) => Ok(()),
        }
    });
    assert!(users.stop() > 0 && new_connections.stop() > 0);
}

#[test]
fn two_listeners_swap_their_addresses_under_load() {
    let admin = with_admin("127.0.0.1:0");
    let any = "127.0.0.1:0";
    let weir = Weir::start(&format!("{admin}{}{}", named("a", any), named("b", any)));
    let (a, b) = (weir.addr_of("a"), weir.addr_of("b"));
    let users = [a, b].map(|addr| {
        Users::start(addr, 2, "/", |reply| {
            assert_eq!(reply.status, 200, "{}", reply.body);
        })
    });
    let new_connections = [a, b].map(|addr| NewConnections::start(addr, "/", 2));
    let (a, b) = (a.to_string(), b.to_string());
    let configs = [(&b, &a), (&a, &b)]
        .map(|(first, second)| format!("{admin}{}{}", named("a", first), named("b", second)));
    go_through(&weir, &configs, 20);
    assert!(users.into_iter().all(|users| users.stop() > 0));
    assert!(
        new_connections
            .into_iter()
            .all(|new_connections| new_connections.stop() > 0)
    );
}

#[test]
fn the_admin_listener_and_another_swap_their_ports() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = free.local_addr().unwrap().to_string();
    drop(free);
    let config = |admin: &str, web: &str| {
        let web = named("web", web).replace("body = \"web\"", "body = \"ok\\n\"");
        format!("{}{web}", with_admin(admin))
    };
    let weir = Weir::start(&config(&first, "127.0.0.1:0"));
    let second = weir.addr().to_string();
    // Both give the same answer to this path.
    let addrs = [&first, &second].map(|addr| addr.parse().unwrap());
    let new_connections = addrs.map(|addr| NewConnections::start(addr, "/livez", 2));
    let configs = [config(&second, &first), config(&first, &second)];
    go_through(&weir, &configs, 20);
    assert!(
        new_connections
            .into_iter()
            .all(|new_connections| new_connections.stop() > 0)
    );
}

#[test]
fn the_admin_listener_moves_on_its_port() {
    let weir = Weir::start(&format!(
        "{}{}",
        with_admin("127.0.0.1:0"),
        named("web", "127.0.0.1:0")
    ));
    let (web, admin) = (weir.addr(), weir.admin_addr());
    let new_connections = NewConnections::start(admin, "/livez", 4);
    let binds = [format!("0.0.0.0:{}", admin.port()), admin.to_string()];
    let configs =
        binds.map(|bind| format!("{}{}", with_admin(&bind), named("web", &web.to_string())));
    go_through(&weir, &configs, 20);
    assert!(new_connections.stop() > 0);
}

#[test]
fn connections_of_a_removed_listener_are_answered_by_its_rules() {
    let admin = with_admin("127.0.0.1:0");
    let keep = format!("{admin}{}", named("web", "127.0.0.1:0"));
    let side = named("side", "127.0.0.1:0");
    let weir = Weir::start(&format!("{keep}{side}"));
    let addr = weir.addr_of("side");
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(addr)).collect();
    weir.replace(&keep);
    weir.line(&["configuration loaded: removed listener side"]);
    for client in &mut clients {
        client.send("/").expect("no broken connection");
    }
    for client in &mut clients {
        let reply = client.receive().expect("no broken connection");
        assert_eq!((reply.status, reply.body.as_str()), (200, "side"));
        assert_eq!(reply.header("connection"), Some("close"));
    }
    drop(clients);
    eventually("the listener is not in the status any more", || {
        let status = weir.status();
        let left = status["listeners"].as_array().unwrap().len();
        if left == 1 {
            Ok(())
        } else {
            Err(format!("{status:#}"))
        }
    });
}
