//! Lines of the access log in the Common and the Combined Log Format, as Apache and nginx write them.
//! The user is a hyphen: Weir checks no passwords.

use std::time::{Duration, SystemTime};

use super::exchange::ExchangeFacts;
use super::log::{self, PlainLine};

/// Writes a line; one that `is_combined` has the referring page and the user agent at its end.
pub(super) fn write(exchange: &ExchangeFacts, elapsed: Duration, is_combined: bool) {
    let now = SystemTime::now();
    let began = now.checked_sub(elapsed).unwrap_or(now);
    log::access_in_places(|line| add(line, exchange, began, is_combined));
}

fn add(line: &mut PlainLine<'_>, exchange: &ExchangeFacts, began: SystemTime, is_combined: bool) {
    line.client(exchange.client);
    line.put(" - - ");
    line.common_time(began);
    line.space();
    request(line, exchange);
    line.space();
    line.number_or_hyphen(exchange.sent_status());
    line.space();
    line.number_or_hyphen(Some(exchange.sent).filter(|sent| *sent > 0));
    if is_combined {
        let head = exchange.head.as_ref();
        line.space();
        line.quoted(head.and_then(|head| head.referer()).unwrap_or_default());
        line.space();
        line.quoted(head.and_then(|head| head.agent()).unwrap_or_default());
    }
}

/// The first line of the request as it was sent.
fn request(line: &mut PlainLine<'_>, exchange: &ExchangeFacts) {
    let head = exchange.head.as_ref();
    let Some(head) = head.filter(|_| exchange.protocol.is_http()) else {
        return line.put("\"-\"");
    };
    line.put("\"");
    line.part(head.method());
    line.space();
    line.part(head.target());
    line.space();
    line.put(head.version(exchange.protocol));
    line.put("\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::model::{ClientAddress, ListenerSlot, Protocol};
    use crate::observe::log::line_in_places;
    use crate::observe::logged_head::LoggedHead;

    fn line(exchange: &ExchangeFacts, is_combined: bool) -> String {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_000_000);
        let line = line_in_places(|line| add(line, exchange, began, is_combined));
        String::from_utf8(line).unwrap()
    }

    fn exchange(head: Option<LoggedHead>) -> ExchangeFacts {
        let started = clock::now().into_std();
        let client = ClientAddress::Ip([192, 0, 2, 10].into());
        let listener = (ListenerSlot(0), "web".into());
        let mut exchange = ExchangeFacts::new(Protocol::Http1, started, listener, client);
        exchange.head = head;
        exchange
    }

    #[test]
    fn lines_are_those_of_web_servers() {
        let mut head = LoggedHead::new(b"GET", b"/apache_pb.gif?a", Some(b"a.example"));
        head.add_agent(
            Some(b"Mozilla/4.08 [en] (Win98)"),
            Some(b"http://a.example/start"),
        );
        head.is_old();
        let mut exchange = exchange(Some(head));
        (exchange.status, exchange.sent) = (Some(200), 2326);
        let common = "192.0.2.10 - - [30/Nov/2026:00:53:20 +0000] \"GET /apache_pb.gif?a HTTP/1.0\" 200 2326";
        assert_eq!(line(&exchange, false), format!("{common}\n"));
        let combined = "\"http://a.example/start\" \"Mozilla/4.08 [en] (Win98)\"";
        assert_eq!(line(&exchange, true), format!("{common} {combined}\n"));
    }

    #[test]
    fn what_is_not_known_is_a_hyphen() {
        let line = line(&exchange(None), true);
        assert!(line.ends_with("] \"-\" - - \"-\" \"-\"\n"), "{line}");
    }

    #[test]
    fn no_client_forges_a_line() {
        let mut head = LoggedHead::new(b"GET", b"/\"\n", None);
        head.add_agent(Some(b"\" 200 1\r\n\xe2\x80\xae"), Some(b"\\"));
        let line = line(&exchange(Some(head)), true);
        let end =
            "\"GET /\\x22\\x0A HTTP/1.1\" - - \"\\x5C\" \"\\x22 200 1\\x0D\\x0A\\xE2\\x80\\xAE\"\n";
        assert!(line.ends_with(end), "{line}");
    }
}
