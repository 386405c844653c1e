//! A TCP health check: the port or Unix socket accepts a connection. Says nothing about the
//! service behind it.

use std::io;

use super::progress::failure;
use crate::model::{CheckFailure, Endpoint, HealthReason};
use crate::net::{connect, is_own_shortage};

/// Connects, then closes the connection.
pub(super) async fn probe(endpoint: &Endpoint) -> Result<(), CheckFailure> {
    match connect(endpoint).await {
        Ok(_) => Ok(()),
        Err(error) => Err(cannot_connect(endpoint, &error)),
    }
}

/// The failure of a check which got no connection.
pub(super) fn cannot_connect(endpoint: &Endpoint, error: &io::Error) -> CheckFailure {
    failure(reason(endpoint, error), describe(endpoint, error))
}

/// A shortage of descriptors, ports or memory is Weir's own and no fault of the target.
fn reason(endpoint: &Endpoint, error: &io::Error) -> HealthReason {
    if is_own_shortage(endpoint, error) {
        HealthReason::InternalError
    } else {
        HealthReason::ConnectionError
    }
}

fn describe(endpoint: &Endpoint, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{endpoint} refused the connection"),
        io::ErrorKind::ConnectionReset => format!("{endpoint} reset the connection"),
        _ => format!("cannot connect to {endpoint}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::io::Errno;

    use super::*;

    #[tokio::test]
    async fn an_open_port_passes_even_if_no_answer_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(probe(&listener.local_addr().unwrap().into()).await, Ok(()));
    }

    #[test]
    fn a_shortage_of_descriptors_is_not_blamed_on_the_target() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let reason = |errno: Errno| reason(&addr, &errno.into());
        for errno in [Errno::MFILE, Errno::ADDRNOTAVAIL] {
            assert_eq!(reason(errno), HealthReason::InternalError);
        }
        assert_eq!(reason(Errno::CONNREFUSED), HealthReason::ConnectionError);
    }

    #[tokio::test]
    async fn a_closed_port_is_a_connection_error() {
        let addr = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let failure = probe(&addr.into()).await.unwrap_err();
        assert_eq!(failure.reason, HealthReason::ConnectionError);
        assert_eq!(failure.detail, format!("{addr} refused the connection"));
    }
}
