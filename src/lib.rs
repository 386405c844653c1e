//! Weir: a load balancer for HTTP, and for TCP connections of any other kind. This page is its
//! architecture: a picture, the threads, the layers, five walks through the code, and the words.
//!
//! # The picture
//!
//! ```text
//!         DATA PLANE   (a request goes down; its record comes out at the bottom)
//!
//!   listener ──► downstream ──► proxy ──► router ──► target_group ──► balance
//!    accept,      one client's   retries,  rule →      policy,         which
//!    limits       connection     filters   action      stickiness      member
//!                                 ├────► upstream   connections to targets
//!                                 ├────► tunnel     bytes after a switch of protocols, or of TCP
//!                                 └────► observe    one record: metrics, log
//!              message   the one form that a request or response has, whatever the wire
//!              http1     the HTTP/1.1 codec of both sides: pure, bytes in and out
//!
//!         CONTROL PLANE   (nothing here is called by a request)
//!
//!   server (reload) ─┐
//!   health ──────────┤
//!   discovery ───────┼──► state::Publisher ──► Snapshot ──► read by proxy
//!   replicas ────────┤      one task, one writer
//!   admin ───────────┘
//!   autoscale ──► replicas
//! ```
//!
//! The data plane counts (atomics of [`target::Target`], handles of [`observe`]) and calls
//! nothing of the control plane. Nothing that a request does can block: no file, no pipe, and no
//! lock that another thread may hold over a system call.
//!
//! # Threads
//!
//! - *Workers* carry the data plane: each has a current-thread runtime, its own listening
//!   sockets (`SO_REUSEPORT`; a copy of the one Unix socket), its own connections to targets and
//!   one timer wheel for the deadlines of them all. A connection never leaves its worker. One
//!   without a request is its socket, two addresses and what it shares with others; buffers, heads
//!   and the futures of requests exist only while there is one, and a moment longer.
//! - The *control thread* runs everything else on a runtime of its own: signals, reloads, the
//!   publisher, checks, discovery, replicas, autoscaling, the admin listener. What would take
//!   long there (large tables, files) goes to blocking threads.
//! - The *log thread* takes finished lines from bounded queues and writes them; a full queue
//!   drops the line and counts it.
//!
//! A panic of a worker, of the publisher or of the supervisor of the replicas ends the process;
//! every other task is started again.
//!
//! # Layers
//!
//! A module names only modules below it; `tests/layering/mod.rs` holds the exact table, and
//! further walls: the providers of [`replicas`] do not see each other, and no two files import
//! each other. Lowest first:
//!
//! | module | decides |
//! |---|---|
//! | [`model`] | nothing: ids, rules, patterns, limits, health states, as plain data |
//! | [`clock`] | nothing: the time of the moment that is handled |
//! | [`target`] | nothing: the live counters of a target, and the queue for one |
//! | [`files`] | how files are read and watched without waiting for ever |
//! | [`tls`] | which certificates can be used, and which one a client gets |
//! | [`observe`] | what is counted, logged and kept as an event, and how it is written |
//! | [`message`] | nothing: heads as bytes with an index of fields; what an exchange is |
//! | [`http1`] | what is well-formed HTTP/1.1, where a message ends, and what is refused |
//! | [`net`] | bytes, plain or encrypted, sockets and deadlines; `net::fetch`, the HTTP client of the control plane |
//! | [`balance`] | which member of a roster takes a request: one file for each algorithm |
//! | [`router`] | which action a request gets |
//! | [`rate_limit`] | whether a client may send another request |
//! | [`lifecycle`] | nothing: the phase of the process |
//! | [`config`] | what a file means, and what is wrong with it |
//! | [`target_group`] | eligibility, stickiness, slow start, retry budget; takes the lease |
//! | [`state`] | what the next snapshot is |
//! | [`upstream`] | which connection to a target is used again, and which stream of one of HTTP/2 |
//! | [`tunnel`] | how bytes are copied after a switch of protocols or of a TCP connection, and when that ends |
//! | [`proxy`] | the way of a request or TCP connection, retries, answers of Weir's own |
//! | [`downstream`] | how a client's connection is read, written, timed and ended |
//! | [`explain`] | nothing: says why a request goes where it goes |
//! | [`listener`] | how many connections are accepted |
//! | [`health`] | what is healthy: active checks and outlier detection |
//! | [`discovery`] | which targets exist: DNS and files |
//! | [`acme`] | when a certificate is ordered, and whether another Weir does |
//! | [`spans`] | when the spans of requests are exported, and which are lost |
//! | [`replicas`] | what runs the replicas, and that there are as many as desired |
//! | [`autoscale`] | how many replicas are desired |
//! | [`admin`] | what operators see and may change |
//! | [`server`] | start, reload, shutdown, upgrade |
//! | `tools` | offline commands: simulate, plot, import (feature `tools`) |
//! | [`cli`] | nothing: arguments and commands |
//!
//! # Five walks through the code
//!
//! *A request.* [`listener::Listener`] accepts a connection on its worker and [`downstream`]
//! serves it, after a handshake if the listener has `tls`: [`http1`] reads each head into a
//! [`message::RequestHead`]. [`proxy::Proxy`] takes it with the [`message::Exchange`], which is that of
//! a connection or of a stream of HTTP/2, loads the current snapshot and asks its
//! [`router::RuleTable`] for an action. A fixed response or a redirect is answered at once. To
//! forward, it acquires a target from the [`target_group::TargetGroup`]: the session's target if
//! there is one, else the one that the group's [`balance::Picker`] picks, else a place in the
//! queue. A lease counts the request on the target until the last byte of the response was read
//! from it. The request is written to a connection of [`upstream::Pool`] while its response is
//! read: one task, that of the client's connection, drives both directions. (A connection of HTTP/2
//! has a task of its own, which moves the frames of all its streams.) After a 101 both
//! streams become a [`tunnel::Tunnel`]; a connection of a listener of protocol `tcp`, of which no
//! byte is read before, becomes one as soon as a target has accepted it. A failure that a retry may
//! follow goes back to the group, with the targets that were tried. Whatever happens becomes a
//! response and one record of [`observe`].
//!
//! *A change of health.* A probe loop of [`health`] writes the result of each check into the
//! target's health cell. When the thresholds are crossed it sends a [`state::Change`]; the
//! publisher builds a new roster and picker for that group alone, and stores a
//! [`state::Snapshot`] that shares everything else with the one before. The next request of
//! every worker sees it. Requests that are on the target go on.
//!
//! *A scaling decision.* Once a second [`autoscale`] takes a sample of each group: requests from
//! the data plane's counters, CPU and memory from the provider, series from the replicas' own
//! metrics page. The group's [`autoscale::Scaler`], which is pure, turns it into a
//! [`autoscale::Decision`] with its formula and reasons. The count goes to the group's
//! reconciler in [`replicas`], which compares desired with actual and asks the
//! [`replicas::Provider`]. A new replica becomes a target when it accepts connections, and gets
//! requests after its first passed check; one that is to go first leaves the roster, and is
//! stopped when its last request has ended.
//!
//! *A reload.* A signal or a changed file makes [`server`] read and validate the file; all
//! problems are reported at once and nothing changes if there is an error. New listening sockets
//! are bound. New groups are published beside the old rules, and when their targets are known and
//! checked (or a deadline has passed) the rules are switched. Removed listeners and targets
//! drain. Live counters stay, because targets are kept by group and address.
//!
//! Certificates, keys and other files that the configuration names are read with it and watched
//! like it, so one that is replaced is a reload: connections stay, and the next handshakes have the
//! new one. One that cannot be used changes nothing. A certificate that [`acme`] has ordered is such
//! a file too: it is written to the state directory, whichever Weir has ordered it, and read again.
//!
//! *A configuration key.* Its path, kind, default, bounds and help stand in one row of the tables
//! in `config::keys`. Parsing, bounds checks, suggestions for misspelt keys, the comments of
//! `config/full.toml` and the reference in `config/README.md` follow from the row. The value
//! becomes a field of a type of [`config`], and what the data plane needs of it is compiled into
//! the snapshot by [`state`]: a request never looks at the configuration.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | downstream, upstream | the client's side, the target's side |
//! | listener, rule, condition, action | as in AWS's Application Load Balancer |
//! | exchange | one request with its response, whatever the protocol |
//! | head, fields, trailers | as in RFC 9110; a target is a server, a request target is in a head |
//! | filter | what a forward changes in a request or response on its way |
//! | target group, target | one service; one address at which it answers |
//! | roster, picker | the members that may be picked now; what picks among them |
//! | lease | one request in flight on one target, from the pick to the last byte read |
//! | attempt, retry, budget | one try at one target; another one; what limits retries |
//! | tunnel | the two streams of an exchange after a switch of protocols, or of a TCP connection |
//! | eligible | active, with a weight, passing its checks and not ejected |
//! | fail open | too few targets are healthy, so all active ones get requests |
//! | ejection | outlier detection takes a target out for a while |
//! | snapshot, publisher | everything that a request needs, immutable; its one writer |
//! | replica, provider, reconciler | an instance of the service; what runs it; the loop that makes actual equal desired |
//! | desired, running, ready | how many replicas there should be, are, and can serve |
//! | lame duck, drain | not ready but accepting; finishing what there is |
//! | handover, successor | a binary upgrade, and the process that takes over |

pub mod acme;
pub mod admin;
pub mod autoscale;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod downstream;
pub mod explain;
pub mod files;
pub mod health;
pub mod http1;
pub mod lifecycle;
pub mod listener;
pub mod message;
pub mod model;
pub mod net;
pub mod observe;
pub mod proxy;
pub mod rate_limit;
pub mod replicas;
pub mod router;
pub mod server;
pub mod spans;
pub mod state;
pub mod target;
pub mod target_group;
pub mod tls;
#[cfg(feature = "tools")]
pub mod tools;
pub mod tunnel;
pub mod upstream;
