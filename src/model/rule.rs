//! Listener rules: conditions and actions, in ALB's words.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::filter::Filters;
use super::pattern::{HostPattern, Pattern};

/// The order of a rule: 1 to 50000, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u32);

impl Priority {
    /// ALB's range.
    pub const RANGE: std::ops::RangeInclusive<u32> = 1..=50_000;
}

/// A listener rule.
///
/// `G` is how it names a group: a `TargetGroupId` in a configuration, a
/// [`super::GroupIndex`] in a snapshot. A rule that still holds a name cannot reach
/// the data path, because the types differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<G> {
    /// Lowest first; unique in its listener.
    pub priority: Priority,
    /// The action is taken if all of them hold.
    pub conditions: Vec<Condition>,
    /// The action if they hold.
    pub action: Action<G>,
}

/// One condition; any of its values satisfies it.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The host of the request, without its port and without regard to case.
    Host(Vec<HostPattern>),
    /// The path, case-sensitive, without the query.
    Path(Vec<Pattern>),
    /// The method, case-sensitive (RFC 9110 section 9.1).
    Method(Vec<Method>),
    /// A request header. Globs ignore case (stored lower-case); every value of a
    /// repeated header is tried.
    Header {
        /// The name of the header.
        name: HeaderName,
        /// Patterns of which one must match its value.
        values: Vec<Pattern>,
    },
    /// The query string, decoded; keys and values ignore case.
    Query(Vec<QueryMatch>),
    /// The address of the client, as trusted proxies report it.
    SourceIp(Vec<IpNet>),
}

/// One accepted query parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    /// Its name, lower-case; `None` accepts any name.
    pub key: Option<String>,
    /// The pattern of its value.
    pub value: Pattern,
}

/// The action of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<G> {
    /// Sends the request to a target of a group.
    Forward(Forward<G>),
    /// Redirects the client.
    Redirect(Redirect),
    /// Responds without a target.
    FixedResponse(FixedResponse),
}

/// A weighted choice of group; one entry is the common case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward<G> {
    /// Groups and their weights (0-999). Never empty, and the weights never sum to 0.
    pub groups: Vec<(G, u16)>,
    /// How long a client stays with the group it was sent to (ALB's target group stickiness);
    /// `None` chooses anew for every request.
    pub sticky: Option<Duration>,
    /// What changes in requests and responses on their way; `None` passes them as they are.
    pub filters: Option<Arc<Filters>>,
}

/// A redirect to a location that is made of parts of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `Location`, as literal text and parts to fill in.
    pub location: Vec<RedirectPart>,
}

/// A piece of a redirect's location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPart {
    /// Copied as it is.
    Literal(String),
    /// `#{protocol}`: `http` or `https`.
    Protocol,
    /// `#{host}`: in lower case, without the port.
    Host,
    /// `#{port}`: the one the client came in by; left out, with its colon, when it is the
    /// default of the location's scheme.
    Port,
    /// `#{path}`: without the leading slash, as ALB does.
    Path,
    /// `#{query}`: without the question mark; a `?` or `&` before an empty one is dropped.
    Query,
}

/// A response that needs no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// 200-599.
    pub status: StatusCode,
    /// `Content-Type`; `text/plain; charset=utf-8` unless configured.
    pub content_type: HeaderValue,
    /// May be empty.
    pub body: Bytes,
}

impl<G> Forward<G> {
    /// To these groups, and nothing else.
    pub fn to(groups: Vec<(G, u16)>) -> Self {
        Self {
            groups,
            sticky: None,
            filters: None,
        }
    }
}

impl<G> Action<G> {
    /// The same action with each group named another way, or the first error of `name`.
    pub fn try_map<H, E>(&self, mut name: impl FnMut(&G) -> Result<H, E>) -> Result<Action<H>, E> {
        Ok(match self {
            Self::Forward(forward) => Action::Forward(Forward {
                groups: forward
                    .groups
                    .iter()
                    .map(|(group, weight)| Ok((name(group)?, *weight)))
                    .collect::<Result<_, E>>()?,
                sticky: forward.sticky,
                filters: forward.filters.clone(),
            }),
            Self::Redirect(redirect) => Action::Redirect(redirect.clone()),
            Self::FixedResponse(fixed) => Action::FixedResponse(fixed.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupIndex, PathRewrite, Rewrite, Template};

    #[test]
    fn another_name_of_its_group_leaves_a_forward_its_filters() {
        let filters = Arc::new(Filters {
            rewrite: Rewrite {
                path: Some(PathRewrite::Replace(Template::new(Vec::new()))),
                host: None,
            },
            ..Filters::default()
        });
        let forward = Action::Forward(Forward {
            filters: Some(Arc::clone(&filters)),
            sticky: Some(Duration::from_secs(1)),
            ..Forward::to(vec![("todo", 3)])
        });
        let index = |name: &&str| (*name == "todo").then_some(GroupIndex(7)).ok_or(());
        let Ok(Action::Forward(named)) = forward.try_map(index) else {
            panic!("it is a forward");
        };
        assert_eq!(named.groups, [(GroupIndex(7), 3)]);
        assert_eq!(named.sticky, Some(Duration::from_secs(1)));
        assert!(
            named
                .filters
                .is_some_and(|kept| Arc::ptr_eq(&kept, &filters))
        );
    }
}
